r"""LoRA: every kernel as what a trained network has, plus a generated update of low rank.

$W(\gamma) = W^0 + s\, A(\gamma) B(\gamma)$: the hypernetwork generates two thin factors for each kernel, and W0 is the
kernel in `theta0`, which starts from the trained network and is meant to stay there. A starts at random and B at zero,
so every gamma starts at W0 itself. The scale s is that of the parametrisation: 1 for `additive`, `scaled:0.5`,
`learned_scale:0.5`.

`low_rank` is another thing: a smaller head for a theta that is trained as a whole. It starts away from zero, as wide as
the initialiser says, and generates vectors and small kernels too, densely. What is generated here is updates of
matrices alone.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021), arXiv 2106.09685; there A and B are
learnt, here they are functions of gamma.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperlab.errors import ConfigError, PatternError
from hyperlab.hypernet.heads import HEADS, Target, columns_of, squared_norm
from hyperlab.hypernet.network import OUTPUT_NORMALIZATIONS
from hyperlab.hypernet.parametrizations import Parametrization, Scaled
from hyperlab.hypernet.spec import ParamSpec, Record
from hyperlab.roles import Role


@HEADS.add("lora")
class LoraHead(nn.Module):
    r"""Updates of low rank, $\Delta_W = A(\gamma) B(\gamma)$, which start at zero.

    A kernel counts as a matrix of everything that an output sums over (the receptive field of a convolution and its
    input features) times its outputs; of layers that are stacked in one leaf, each has factors of its own. An entry of
    A starts with variance 1 / rows, so that the scale of x A is that of x; the initialiser decides the hidden layers
    alone.

    Attributes:
      rank: of the update; at most the smaller side of every matrix.

    Raises:
      PatternError: a vector is to be generated.
      ConfigError: the rank is above what a kernel has, or the axes of a kernel are undecided.
    """

    rank: int = 4

    def factors(self, spec: ParamSpec) -> ParamSpec:
        """What is generated in place of each kernel: `<path>@a` `[copies..., rows, rank]`, `<path>@b`."""
        _matrices(spec)
        records = []
        for record in spec:
            copies, rows, columns = _sides(record)
            if self.rank > min(rows, columns):
                raise ConfigError(
                    f"lora={self.rank}, and {record.path!r} {record.shape} is a matrix of {rows} x {columns}, whose "
                    f"rank is {min(rows, columns)} at most; take a lower rank, or leave it out: "
                    f"select={['**/' + record.path.rpartition('/')[2], '!' + record.path]}"
                )
            records.append(Record(f"{record.path}@a", (*copies, rows, self.rank)))
            records.append(Record(f"{record.path}@b", (*copies, self.rank, columns)))
        return ParamSpec(tuple(records))

    def size(self, spec: ParamSpec, width: int) -> int:
        """Number of parameters."""
        return width * self.factors(spec).packed_size

    @nn.compact
    def __call__(self, features: Float[Array, "*draws width"], target: Target) -> dict[str, Float[Array, "..."]]:
        factors = self.factors(target.spec)

        def start(key: jax.Array) -> jax.Array:
            norm = jnp.sqrt(squared_norm(features))
            std = {record.path: jnp.zeros(()) for record in factors}
            for record in target.spec:
                std[f"{record.path}@a"] = 1 / (norm * math.sqrt(_sides(record)[1]))
            return target.scheme.draw(key, (features.shape[-1], factors.packed_size)) * columns_of(factors, std)

        pieces = factors.unpack(features @ self.param("kernel", start))
        return {
            record.path: _as_leaf(pieces[f"{record.path}@a"] @ pieces[f"{record.path}@b"], record)
            for record in target.spec
        }


def lora_head(rank: Any, head: Any) -> Any:
    """The head that `hypernetize` takes for its options `lora` and `head`.

    Args:
      rank: of the updates, or None for what `head` says.
      head: the other option.

    Raises:
      ConfigError: the rank is no whole number from 1, or there is another head beside it.

    >>> lora_head(4, "dense"), lora_head(None, "chunked")
    ('lora:4', 'chunked')
    """
    if rank is None:
        return head
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ConfigError(f"lora is {rank!r}, expected the rank of the updates, a whole number of at least 1")
    if head not in ("dense", f"lora:{rank}"):
        raise ConfigError(f"lora={rank} is a head of its own, and head is {head!r} beside it; leave one of them out")
    return f"lora:{rank}"


def kernels_among(decided: dict[str, Role], paths: list[str]) -> list[str]:
    """The kernels among some leaves: what LoRA updates where nothing is selected.

    Raises:
      PatternError: there is none.
    """
    kernels = [path for path in paths if decided[path].kind == "kernel"]
    if not kernels:
        shown = ", ".join(f"{path!r} ({decided[path].kind})" for path in paths[:8])
        raise PatternError(f"lora finds no kernel among {shown}; say which leaves are kernels with roles=")
    return kernels


def check_lora(head: Any, parametrization: Parametrization, head_bias: str | None, normalization: str | None) -> None:
    """Refuses options under which an update of LoRA would not be one: added to theta0, of low rank, zero at first.

    Raises:
      ConfigError: saying which.
    """
    if not isinstance(HEADS.get(head), LoraHead):
        return
    if not parametrization.uses_theta0:
        raise ConfigError(
            "lora generates updates of theta0, which a direct parametrization does not have; take 'additive', or "
            "'scaled:0.5' for a scale"
        )
    if isinstance(parametrization, Scaled) and parametrization.scale == 0:
        raise ConfigError("lora starts with a factor of zeros: with a scale of 0 beside it, nothing would ever learn")
    if head_bias is not None:
        raise ConfigError(f"head_bias is {head_bias!r}, and lora has none: the sum would not be of low rank")
    if normalization in OUTPUT_NORMALIZATIONS:
        raise ConfigError(
            f"normalization={normalization!r} divides by the size of what is generated, and an update of lora starts "
            "at zero; take 'unit_norm' or 'layer_norm_after'"
        )


def _matrices(spec: ParamSpec) -> None:
    vectors = [record for record in spec if not record.decided.is_matrix]
    if vectors:
        shown = ", ".join(f"{record.path!r} ({record.decided.kind} {record.shape})" for record in vectors[:5])
        more = f" and {len(vectors) - 5} more" if len(vectors) > 5 else ""
        raise PatternError(
            f"lora updates matrices, and select chooses {shown}{more}; select kernels alone, for instance "
            "select='**/kernel', or leave select out for all of them"
        )


def _order(record: Record) -> tuple[int, ...]:
    """The axes of a kernel: copies, then what an output sums over, then outputs."""
    role = record.decided
    return (*role.stacked, *role.reduction, *role.outputs)


def _sides(record: Record) -> tuple[tuple[int, ...], int, int]:
    """Sizes of the stack, rows and columns of a kernel as a matrix."""
    role, shape = record.decided, record.shape
    copies = tuple(shape[axis] for axis in role.stacked)
    return copies, math.prod(shape[axis] for axis in role.reduction), math.prod(shape[axis] for axis in role.outputs)


def _as_leaf(product: jax.Array, record: Record) -> jax.Array:
    """`[*draws, copies..., rows, columns]` as `[*draws, *shape]`."""
    order = _order(record)
    draws = product.shape[: product.ndim - len(record.decided.stacked) - 2]
    spread = product.reshape(*draws, *(record.shape[axis] for axis in order))
    back = sorted(range(len(order)), key=order.__getitem__)
    return spread.transpose(*range(len(draws)), *(len(draws) + axis for axis in back))
