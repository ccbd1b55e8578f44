"""Who trains on what: IID and non-IID partitions of the examples over replicas.

| kind | a replica's examples | source |
|---|---|---|
| `shards` | few classes: the examples, sorted by class, are cut into shards | McMahan et al. 2017, arXiv 1602.05629 |
| `dirichlet` | class shares drawn from Dir(alpha), the smaller, the less alike | Hsu et al. 2019, arXiv 1909.06335 |

All replicas get equally many, so that an epoch of one is an epoch of all; fewer examples than there are parts are left
over. The last replicas take what is left of each class, so that under `dirichlet` their shares are those of no draw.
"""

import numpy as np

from hyperlab.errors import ConfigError, DataError, nearest

KINDS = ("iid", "shards", "dirichlet")


def partition(
    kind: str, labels: np.ndarray, replicas: int, seed: int, *, shards: int = 2, alpha: float = 0.5
) -> np.ndarray:
    """Which examples each replica has.

    Args:
      kind: `iid`, `shards` or `dirichlet`.
      labels: `[n]`, the class of each example.
      replicas: how many, at least 1.
      seed: of what is drawn.
      shards: of each replica, for `shards`.
      alpha: the concentration, positive, for `dirichlet`.

    Returns:
      int32 `[replicas, n // replicas]`, no example twice.

    Raises:
      ConfigError: an unknown kind, fewer than 1 shard, an alpha that is not positive.
      DataError: fewer examples than replicas or shards, or labels of another form.

    >>> labels = np.array([0, 1, 0, 1])
    >>> sorted(labels[row].tolist() for row in partition("shards", labels, 2, seed=0, shards=1))
    [[0, 0], [1, 1]]
    """
    labels = np.asarray(labels)
    if kind not in KINDS:
        raise ConfigError(f"data.partition.kind is {kind!r}; {nearest(kind, KINDS)}")
    if labels.ndim != 1:
        raise DataError(f"a partition needs one class an example, got labels of shape {labels.shape}")
    if kind == "shards" and shards < 1:
        raise ConfigError(f"data.partition.shards is {shards}, expected at least 1")
    if kind == "dirichlet" and not alpha > 0:
        raise ConfigError(f"data.partition.alpha is {alpha}, expected a positive number, for instance 0.5")
    parts = replicas * (shards if kind == "shards" else 1)
    if replicas < 1 or len(labels) < parts:
        raise DataError(f"{len(labels)} examples cannot be dealt out to {parts} parts")
    rng = np.random.default_rng((seed, replicas))
    shuffled = rng.permutation(len(labels))
    if kind == "dirichlet":
        return _dirichlet(labels, shuffled, replicas, alpha, rng)
    size = len(labels) // parts
    if kind == "shards":
        # sorted within the shuffled order, so that which examples of a class share a shard is drawn
        shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    rows = shuffled[: parts * size].reshape(parts, size)
    return rng.permutation(rows).reshape(replicas, -1).astype(np.int32)


def _dirichlet(labels, shuffled, replicas, alpha, rng) -> np.ndarray:
    classes = np.unique(labels)
    pools = [list(shuffled[labels[shuffled] == one]) for one in classes]
    size, rows = len(labels) // replicas, []
    for _ in range(replicas):
        shares = rng.dirichlet(np.full(len(classes), alpha))
        taken: list[int] = []
        while len(taken) < size:
            left = np.array([len(pool) for pool in pools])
            # a class that ran out passes its share on to the others
            shares = np.where(left > 0, shares, 0.0)
            total = shares.sum()
            shares = shares / total if total > 0 else left / left.sum()
            counts = np.minimum(rng.multinomial(size - len(taken), shares), left)
            for pool, count in zip(pools, counts, strict=True):
                taken += pool[len(pool) - count :]
                del pool[len(pool) - count :]
        rows.append(rng.permutation(taken))
    return np.array(rows, np.int32)
