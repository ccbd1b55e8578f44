"""The masks of a method, from parameters and what its score has to look at; a function of seeds that are fixed before.

Scores look at training examples alone, through the network as it is used: no dropout, and batch statistics are read
and never written.
"""

from typing import Any

import jax

from hyperlab import pruning
from hyperlab.errors import ConfigError
from hyperlab.studies.pruning.arms import METHODS, Method
from hyperlab.studies.pruning.programs import Programs
from hyperlab.tasks import Task

SCORING = 50_000  # added to seeds: examples that scores look at are drawn apart from those of training
ROUNDS = 20  # of SynFlow; the paper has 100


def make(
    method: Method,
    programs: Programs,
    variables: Any,
    compression: float,
    *,
    seed: int,
    key: jax.Array,
    current: Any = None,
    task: Task | None = None,
) -> Any:
    """The masks of a method at a compression.

    Args:
      method: which; a control's masks are made from those of the method that it is like.
      programs: of the task.
      variables: `params` and other collections of the network that is pruned.
      compression: original size over new size, at least 1.
      seed: of the examples that the score looks at.
      key: of what is drawn.
      current: masks to prune further; None to start from all.
      task: that of the programs, or that at one of its operating points (`Task.restrict`).

    Returns:
      A tree like what the task prunes, of bool arrays; `Task.parameter_masks` makes masks of the parameters from it.
    """
    task = task or programs.task
    pruned = task.pruned(variables["params"])
    if method.masks == "none" or compression == 1:
        return pruning.dense(pruned)
    target: float | None = compression
    options: dict[str, Any] = {"prunable": task.prunable, "exclude": task.exclude, "masks": current}
    own, others = jax.random.split(key)
    if method.like:
        masks = make(METHODS[method.like], programs, variables, compression, seed=seed, key=others, task=task)
        if method.shuffled:
            return pruning.shuffle(masks, own)
        options["distribution"], target = pruning.fractions_of(masks), None
    if method.masks == "synflow":
        return _synflow(task, pruned, compression, options)
    evidence = _evidence(pruning.STRATEGIES[method.masks].score, programs, task, variables, seed, own)
    return pruning.masks(method.masks, pruned, target, evidence=evidence, **options)


def gradients(programs: Programs, task: Task, variables: Any, seed: int) -> Any:
    """Gradients of the loss of one batch, a tree like what the task prunes."""
    params, collections = _parts(variables)
    return programs.gradients(task)(params, collections, *task.batch(task.indices(seed + SCORING, 0)))


def _evidence(
    score: Any, programs: Programs, task: Task, variables: Any, seed: int, key: jax.Array
) -> pruning.Evidence:
    """What a score needs; a score of the user's own gets gradients and a key."""
    if score in ("magnitude", "squared"):
        return pruning.Evidence()
    if score == "random":
        return pruning.Evidence(key=key)
    if score == "grasp":
        params, collections = _parts(variables)
        structure: Any = jax.tree.structure(params)
        if structure != jax.tree.structure(task.pruned(params)):
            raise ConfigError(
                f"GraSP needs the Hessian of what is pruned, which {task.architecture} makes from its parameters; take "
                "a method that looks at magnitudes or gradients"
            )
        batch = jax.device_put(task.batch(task.indices(seed + SCORING, 0)))
        loss = lambda p: task.deterministic_loss(p, collections, *batch)  # noqa: E731
        return pruning.Evidence(hessian_gradient=pruning.evidence.hessian_gradient(loss, params))
    return pruning.Evidence(grads=gradients(programs, task, variables, seed), key=key)


def _synflow(task: Task, params: Any, compression: float, options: dict[str, Any]) -> Any:
    """Scored anew in every round, as entries go: one round would empty whole layers."""
    function, shapes = task.example()
    where = {"prunable": task.prunable, "exclude": task.exclude}
    return pruning.schedules.in_rounds(
        "synflow",
        params,
        pruning.schedules.exponential(params, compression, ROUNDS, **where),
        lambda left: pruning.Evidence(flow=pruning.evidence.flow(function, left, *shapes)),
        **options,
    )


def _parts(variables: Any) -> tuple[Any, Any]:
    return variables["params"], {name: tree for name, tree in variables.items() if name != "params"}
