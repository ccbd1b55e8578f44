"""The masks of a method, from parameters and what its score has to look at; a function of seeds that are fixed before.

Scores look at training examples alone, through the network as it is used: no dropout, and batch statistics are read
and never written.
"""

from typing import Any

import jax

from hyperlab import pruning
from hyperlab.compression.methods import METHODS, Method
from hyperlab.compression.tasks import Task
from hyperlab.compression.trial import Trial

SCORING = 50_000  # added to seeds: examples that scores look at are drawn apart from those of training
ROUNDS = 20  # of SynFlow; the paper has 100


def make(
    method: Method, trial: Trial, variables: Any, compression: float, *, seed: int, key: jax.Array, current: Any = None
) -> Any:
    """The masks of a method at a compression.

    Args:
      method: which; a control's masks are made from those of the method that it is like.
      trial: of the task.
      variables: `params` and other collections of the network that is pruned.
      compression: original size over new size, at least 1.
      seed: of the examples that the score looks at.
      key: of what is drawn.
      current: masks to prune further; None to start from all.

    Returns:
      A tree like the parameters, of bool arrays.
    """
    task = trial.task
    if method.masks == "none" or compression == 1:
        return pruning.dense(variables["params"])
    options: dict[str, Any] = {"prunable": task.prunable, "exclude": task.exclude, "masks": current}
    own, others = jax.random.split(key)
    if method.like:
        masks = make(METHODS[method.like], trial, variables, compression, seed=seed, key=others)
        if method.shuffled:
            return pruning.shuffle(masks, own)
        options["distribution"], compression = pruning.fractions_of(masks), None
    if method.masks == "synflow":
        return _synflow(task, variables, compression, options)
    evidence = _evidence(pruning.STRATEGIES[method.masks].score, trial, variables, seed, own)
    return pruning.masks(method.masks, variables["params"], compression, evidence=evidence, **options)


def gradients(trial: Trial, variables: Any, seed: int) -> Any:
    """Gradients of the loss of one batch, a tree like the parameters."""
    params, collections = _parts(variables)
    indices = trial.task.indices(seed + SCORING, 0)
    return trial.gradients(params, collections, trial.task.train(), indices)


def _evidence(score: Any, trial: Trial, variables: Any, seed: int, key: jax.Array) -> pruning.Evidence:
    """What a score needs; a score of the user's own gets gradients and a key."""
    if score in ("magnitude", "squared"):
        return pruning.Evidence()
    if score == "random":
        return pruning.Evidence(key=key)
    if score == "grasp":
        task, (params, collections) = trial.task, _parts(variables)
        indices = task.indices(seed + SCORING, 0)
        loss = lambda p: task.still(p, collections, task.train(), indices)  # noqa: E731
        return pruning.Evidence(hessian_gradient=pruning.evidence.hessian_gradient(loss, params))
    return pruning.Evidence(grads=gradients(trial, variables, seed), key=key)


def _synflow(task: Task, variables: Any, compression: float | None, options: dict[str, Any]) -> Any:
    """Scored anew in every round, as entries go: one round would empty whole layers."""
    function, shapes = task.example()
    params, where = variables["params"], {"prunable": task.prunable, "exclude": task.exclude}
    return pruning.schedules.in_rounds(
        "synflow",
        params,
        pruning.schedules.exponential(params, compression, ROUNDS, **where),
        lambda left: pruning.Evidence(flow=pruning.evidence.flow(function, left, *shapes)),
        **options,
    )


def _parts(variables: Any) -> tuple[Any, Any]:
    return variables["params"], {name: tree for name, tree in variables.items() if name != "params"}
