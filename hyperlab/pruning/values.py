"""Values of the weights that survive: kept, rewound to an earlier time, or drawn anew.

| name | values | source |
|---|---|---|
| `keep` | as trained; with the schedule of rates restarted it is rate rewinding | Renda et al. 2020, arXiv 2003.02389 |
| `rewind` | those of an earlier step; at step 0, the lottery ticket | Frankle and Carbin 2019, arXiv 1803.03635; Frankle et al. 2020, arXiv 1912.05671 |
| `reinitialize` | of another initialisation: the control of the lottery ticket | Frankle and Carbin 2019; Liu et al. 2019, arXiv 1810.05270 |
"""  # noqa: E501

import numpy as np
from jaxtyping import Array, Bool, PyTree

from hyperlab import trees
from hyperlab.errors import ConfigError, nearest
from hyperlab.pruning.counting import apply, check

VALUES = ("keep", "rewind", "reinitialize")


def values(
    rule: str,
    trained: PyTree,
    masks: PyTree[Bool[Array | np.ndarray, "..."]],
    *,
    earlier: PyTree = None,
    fresh: PyTree = None,
) -> PyTree:
    """The parameters from which a pruned network goes on, zero where pruned.

    What cannot be pruned (normalisations, a classifier) is rewound or drawn anew with the rest.

    Args:
      rule: `keep`, `rewind` or `reinitialize`.
      trained: the parameters at which the masks were found.
      masks: a tree like them, of bool arrays.
      earlier: the parameters at the step to rewind to, for `rewind`.
      fresh: those of `init` with another key, for `reinitialize`.

    Raises:
      ConfigError: an unknown rule, or one without the parameters that it needs.
      ParameterTreeError: trees that differ.

    >>> import numpy as np
    >>> values("rewind", np.array([5.0, 6.0]), np.array([True, False]), earlier=np.array([1.0, 2.0])).tolist()
    [1.0, 0.0]
    """
    if rule not in VALUES:
        raise ConfigError(f"unknown value rule {rule!r}; {nearest(rule, VALUES)}")
    check(masks, trained)
    source = {"keep": trained, "rewind": earlier, "reinitialize": fresh}[rule]
    if source is None:
        raise ConfigError(
            f"value rule {rule!r} needs {'earlier=' if rule == 'rewind' else 'fresh='}, a tree of parameters"
        )
    trees.check_same(source, trained, f"the parameters of value rule {rule!r}")
    return apply(source, masks)
