"""What makes the draws of a network differ: dropout, a latent of its weights, noise at its input, its training.

A sampler is a function `(key, images) -> logits [batch, *spatial, class]`, one draw. These are made of variables where
they are used, inside what is compiled, so that one program serves all variables:

    jax.jit(lambda variables, key, images: sample(dropout(net.apply, variables), key, images, 20))

Nothing but what is drawn is switched on: batch normalisation uses its running averages, and no variable changes.
"""

import collections
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array, Float, Key, PyTree, Shaped

from hyperlab import prng, trees
from hyperlab.errors import ConfigError
from hyperlab.nn.dropout import Dropout

Variables = Any
Sampler = Callable[[jax.Array, jax.Array], jax.Array]


def dropout(
    apply: Callable[..., PyTree],
    variables: PyTree,
    *,
    share_masks: bool = False,
    stream: str = "dropout",
    **options: Any,
) -> Sampler:
    """Draws of a network that drops something.

    Args:
      apply: a Linen module's `apply`, or another `(variables, images, rngs=...) -> logits`.
      variables: of the network.
      share_masks: drop the same for all images, so that a draw is one network, and differences between images are
        theirs. Otherwise each image has masks of its own, and a mean over images varies less. Any network can do
        it: it is applied to each image on its own with the same key.
      stream: the name of the key in `rngs`.
      **options: given to `apply`.

    >>> from hyperlab.models import DropoutUNet
    >>> net, images = DropoutUNet((4, 4)), jnp.ones((2, 8, 8, 1))
    >>> sampler = dropout(net.apply, net.init(jax.random.key(0), images), share_masks=True)
    >>> first, second = sampler(jax.random.key(1), images)
    >>> bool(jnp.allclose(first, second))  # the same image twice, seen by the same network
    True

    (Gal and Ghahramani, 2016, arXiv 1506.02142.)
    """

    def draw(key: jax.Array, images: jax.Array) -> jax.Array:
        if not share_masks:
            return apply(variables, images, rngs={stream: key}, **options)
        return jax.vmap(lambda image: apply(variables, image[None], rngs={stream: key}, **options)[0])(images)

    return draw


def latent(
    apply: Callable[..., PyTree], variables: PyTree, prior: Callable[[Array], PyTree], **options: Any
) -> Sampler:
    """Draws of a Bayesian hypernetwork: other weights for every draw, the same ones for all images.

    Args:
      apply: `(variables, gamma, images) -> logits`, such as the `apply` of a `hyperlab.hypernetize` model.
      variables: of the model.
      prior: key -> gamma, as the model was trained with.
      **options: given to `apply`.

    >>> sampler = latent(lambda scale, gamma, images: scale * gamma * images, 2.0, lambda key: jax.random.normal(key))
    >>> sampler(jax.random.key(0), jnp.ones((1, 2, 2, 1))).shape
    (1, 2, 2, 1)

    (Krueger et al., 2017, "Bayesian hypernetworks", arXiv 1710.04759.)
    """
    return lambda key, images: apply(variables, prior(key), images, **options)


def noise(
    apply: Callable[..., PyTree],
    variables: PyTree,
    support_images: Float[Array, "*batch support height width 1"],
    support_labels: Float[Array, "*batch support height width 1"],
    *,
    company: int = 1,
) -> Sampler:
    """Draws of an in-context network with noise at its input: one candidate of `hyperlab.models.Tyche`.

    Candidates that go through the network together know of each other, and are not independent. A draw here is the
    first of `company` candidates: all are alike in distribution, since permuting the noise permutes them. So draws
    are independent and distributed as one candidate in that company, at the cost of all of it. A network with
    `mix_candidates=False` gives the same at a company of 1. To use what a single pass gives as a set, measure it as
    a set (`hyperlab.metrics.candidates`).

    Args:
      apply: `(variables, target, noise, support_images, support_labels) -> logits [batch, candidate, h, w, 1]`.
      variables: of the network.
      support_images: `[batch, support, height, width, 1]`, or `[support, height, width, 1]` for all images.
      support_labels: of the same shape.
      company: candidates in a pass; what the network was trained with is what it knows.

    Raises:
      ConfigError: a company below 1.

    >>> from hyperlab.models import Tyche
    >>> net, images, examples = Tyche([4, 4]), jnp.ones((1, 8, 8, 1)), jnp.ones((3, 8, 8, 1))
    >>> variables = net.init(jax.random.key(0), *2 * [images[:, None]], *2 * [examples[None]])
    >>> noise(net.apply, variables, examples, examples, company=2)(jax.random.key(1), images).shape
    (1, 8, 8, 1)

    (Rakic et al., 2024, arXiv 2401.13650; what counts as a draw is this library's choice.)
    """
    if company < 1:
        raise ConfigError(f"a candidate in a company of {company}; expected 1 or more, itself included")

    def draw(key: jax.Array, images: jax.Array) -> jax.Array:
        target = jnp.broadcast_to(images[:, None], (images.shape[0], company, *images.shape[1:]))
        support = [
            jnp.broadcast_to(one, (images.shape[0], *one.shape)) if one.ndim == images.ndim else one
            for one in (support_images, support_labels)
        ]
        return apply(variables, target, prng.normal(key, target.shape, target.dtype), *support)[:, 0]

    return draw


@dataclasses.dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks that were trained apart; see `members`. As a sampler, a draw is a member at random.

    `sample` counts members off instead, so that no member is drawn twice.
    """

    apply: Callable[..., PyTree]
    stacked: Variables
    options: dict[str, Any]

    @property
    def size(self) -> int:
        """How many members there are."""
        return jax.tree.leaves(self.stacked)[0].shape[0]

    def member(self, index: Any, images: Float[Array, "..."]) -> Float[Array, "..."]:
        """The logits of one member."""
        return self.apply(jax.tree.map(lambda leaf: leaf[index], self.stacked), images, **self.options)

    def __call__(self, key: Key[Array, ""], images: Float[Array, "..."]) -> Float[Array, "..."]:
        """The logits of a member at random."""
        return self.member(jax.random.randint(key, (), 0, self.size), images)


def members(
    apply: Callable[..., PyTree], stacked_variables: PyTree[Shaped[Array, "member ..."]], **options: Any
) -> Ensemble:
    """A deep ensemble as a sampler: in `sample`, draw t is member t.

    Args:
      apply: `(variables, images) -> logits`.
      stacked_variables: the variables of all members, each leaf `[member, ...]`.
      **options: given to `apply`.

    Raises:
      ConfigError: leaves that do not agree on the number of members; the first that differs is named.

    >>> ensemble = members(lambda scale, images: scale * images, jnp.array([1.0, 2.0, 3.0]))
    >>> ensemble.size, float(ensemble.member(2, jnp.ones(())))
    (3, 3.0)

    (Lakshminarayanan, Pritzel and Blundell, 2017, arXiv 1612.01474.)
    """
    leaves = trees.flatten(stacked_variables)
    sizes = {path: leaf.shape[0] if leaf.ndim else None for path, leaf in leaves.items()}
    first = next(iter(sizes.values()), None)
    for path, size in sizes.items():
        if size is None or size != first:
            raise ConfigError(f"{path!r} has shape {leaves[path].shape}; expected a row for each of {first} members")
    return Ensemble(apply, stacked_variables, options)


def by_number(sampler: Sampler) -> tuple[Callable[[Any, jax.Array], jax.Array], Callable[..., Any], int | None]:
    """How draws are numbered: `(draw, state, limit)`, where draw t is `draw(state(key, t), images)`.

    For a function of a key, the state is `fold_in(key, t)` and there is no limit; for an `Ensemble` it is t.

    >>> by_number(lambda key, images: images)[2] is None
    True
    """
    if isinstance(sampler, Ensemble):
        return sampler.member, lambda key, t: jnp.asarray(t), sampler.size
    return sampler, prng.fold_in, None


# -- layers that draw -----------------------------------------------------------------------------------------------


class Stochastic(NamedTuple):
    """A layer that drops something.

    Attributes:
      path: of the layer in its module, with slashes.
      kind: `spatial`, `element`, or `partial` where other axes share a mask.
      rate: the share that is dropped.
    """

    path: str
    kind: str
    rate: float


def stochastic_layers(module: nn.Module, variables: PyTree, images: Any, **options: Any) -> list[Stochastic]:
    """The dropout layers that a Linen module calls, in order; those of kind `none` are not among them.

    Args:
      module: the network.
      variables: of the network, or their shapes.
      images: an input, or its shape.
      **options: given to the call, for instance `train=True` where dropout waits for that.

    >>> from hyperlab.models import DropoutUNet
    >>> net, images = DropoutUNet((4, 4), rate=0.3, places="bottleneck"), jnp.zeros((1, 8, 8, 1))
    >>> stochastic_layers(net, jax.eval_shape(net.init, jax.random.key(0), images), images)
    [Stochastic(path='encoder_1_dropout', kind='spatial', rate=0.3)]
    """

    def call(variables: PyTree, images: Any, key: Any) -> Any:
        return module.apply(variables, images, rngs={"dropout": key}, **options)

    with _recorded() as called:
        jax.eval_shape(call, variables, images, jax.eval_shape(lambda: jax.random.key(0)))
    return called.stochastic


def check_draws(sampler: Sampler, key: Key[Array, ""], images: Float[Array, "batch *spatial channel"]) -> None:
    """Refuses a sampler whose logits do not depend on its key; it is traced, not run.

    Args:
      sampler: as in `sample`.
      key: a key.
      images: `[batch, *spatial, channel]`.

    Raises:
      ConfigError: with what was looked for, and the layers that were found.

    >>> check_draws(lambda key, images: images, jax.random.key(0), jnp.ones((1, 4, 4, 1)))
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: the logits do not depend on the key...
    """
    draw, state, _ = by_number(sampler)
    with _recorded() as called:
        traced = jax.make_jaxpr(lambda state: draw(state, images))(state(jax.random.clone(key), 0))
    (depends,) = dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))[1]
    if depends:
        return
    layers = ", ".join(f"{number} {name}" for name, number in called.kinds.most_common()) or "none of Linen"
    drops = ", ".join(f"{layer.path} ({layer.kind}, rate {layer.rate})" for layer in called.stochastic) or "none"
    raise ConfigError(
        "the logits do not depend on the key: every draw is the same. Looked for dropout (hyperlab.nn.Dropout or "
        "flax.linen.Dropout) with a rate above 0 that is not switched off by a flag, or any other use of the key; "
        f"layers that were called: {layers}; of these drop: {drops}. Train a network that draws, such as "
        "hyperlab.models.DropoutUNet, or give fixed=True where equal draws are wanted"
    )


class _recorded:
    """Records the Linen modules that are called in a `with` block."""

    def __init__(self) -> None:
        self.kinds: collections.Counter[str] = collections.Counter()
        self.stochastic: list[Stochastic] = []
        self._context = nn.intercept_methods(self._see)

    def __enter__(self) -> "_recorded":
        self._context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    def _see(self, call: Callable[..., PyTree], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if context.method_name == "__call__" and module.path and not isinstance(module.parent, Dropout):
            self.kinds[type(module).__name__] += 1
            kind = _kind(module, args[0].ndim) if isinstance(module, Dropout | nn.Dropout) else "none"
            if kind != "none":
                self.stochastic.append(Stochastic("/".join(module.path), kind, float(module.rate)))
        return call(*args, **kwargs)


def _kind(module: nn.Module, ndim: int) -> str:
    if isinstance(module, Dropout):
        return module.kind
    shared, spatial = {axis % ndim for axis in module.broadcast_dims} - {0}, set(range(1, ndim - 1))
    return "element" if not shared else "spatial" if shared == spatial else "partial"
