"""`diagnose`: in ten seconds and without training, is a hypernetwork proportional, dead, exploding or sound?"""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from hyperlab import trees
from hyperlab.errors import GammaError
from hyperlab.files import writing
from hyperlab.hypernet import probes
from hyperlab.hypernet.model import HyperModel, concrete
from hyperlab.seeds import check_seed

# Where one verdict ends and the next begins. The reference table of parametrisations at initialisation falls
# well to either side of each: proportional rows grow 20-fold and correlate by 1.00, others grow below 3-fold.
PROPORTIONAL_GROWTH, PROPORTIONAL_CORRELATION = 3.0, 0.98
DEAD_RATIO, EXPLODING_RATIO = 0.25, 10.0

ADVICE = {
    "proportional": "use parametrization='additive' with encoding='cos_sin'",
    "dead": "use parametrization='additive', or initializer='scale_matched'",
    "exploding": "use initializer='fan_out' with parametrization='additive'",
    "non-finite": "look at the primary itself: its own initialisation may overflow on these inputs",
}


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What a hypernetwork looks like before training.

    Attributes:
      findings: of `non-finite`, `proportional`, `exploding`, `dead`, all that hold; empty for a sound model.
      gammas: `[points]`, the position along the range.
      norms: `[seeds, points]`, norm of the generated parameters.
      rms: `[seeds, points]`, rms of the generated kernels over the primary's own initialisation.
      outputs: `[seeds, points]`, rms of the primary's output over that of the ordinary primary.
      gradients: `[seeds, points]`, norm of the gradient at the generated parameters.
    """

    findings: tuple[str, ...]
    gammas: Float[np.ndarray, " points"]
    norms: Float[np.ndarray, "seeds points"]
    rms: Float[np.ndarray, "seeds points"]
    outputs: Float[np.ndarray, "seeds points"]
    gradients: Float[np.ndarray, "seeds points"]

    @property
    def verdict(self) -> str:
        """The first finding, or `sound`."""
        return self.findings[0] if self.findings else "sound"

    @property
    def growth(self) -> float:
        """Largest over smallest norm of what is generated, on the upper 95 % of the range."""
        upper = self.norms[:, self.gammas >= self.gammas[0] + 0.05 * np.ptp(self.gammas) - 1e-9]
        low = upper.min(1)
        return float(np.median(np.divide(upper.max(1), low, out=np.full_like(low, np.inf), where=low > 0)))

    @property
    def correlation(self) -> float:
        """Correlation of the norm with the magnitude of gamma: 1 where proportional, 0 where constant."""
        return float(np.median([_correlation(np.abs(self.gammas), row) for row in self.norms]))

    @property
    def gradient_variation(self) -> float:
        """Coefficient of variation of the gradient norm over gamma."""
        return float(np.median(probes.coefficient_of_variation(self.gradients, 1)))

    def __str__(self) -> str:
        low, high = np.median(self.rms, 0).min(), np.median(self.rms, 0).max()
        text = (
            f"{self.verdict}: the generated parameters change {self.growth:.3g}x in norm over gamma "
            f"(correlation with its magnitude {self.correlation:.2f}); their rms is {low:.2g} to {high:.2g} of "
            f"the primary's own initialisation; outputs are up to {np.median(self.outputs, 0).max():.2g}x the "
            f"ordinary primary's; gradient norm varies by {self.gradient_variation:.2f} (std over mean)"
        )
        if len(self.findings) > 1:
            text += "; also " + ", ".join(self.findings[1:])
        return text + "".join(f"; {ADVICE[finding]}" for finding in self.findings[:1])

    def plot(self, path: str | pathlib.Path) -> pathlib.Path:
        """Draws the four curves against gamma into a PNG, and returns its path."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib.figure import Figure

        panels = {
            "norm of generated parameters": self.norms,
            "rms of kernels / own init": self.rms,
            "rms of output / ordinary primary": self.outputs,
            "gradient norm at theta": self.gradients,
        }
        figure = Figure(figsize=(12, 3.2), layout="constrained")
        figure.suptitle(f"{self.verdict} at initialisation", fontweight="bold")
        for axes, (title, values) in zip(figure.subplots(1, 4), panels.items(), strict=True):
            axes.plot(self.gammas, values.T, color="#0072b2", alpha=0.35, linewidth=1)
            axes.plot(self.gammas, np.median(values, 0), color="#0072b2", linewidth=2)
            axes.set(title=title, xlabel="gamma", ylim=(0, None))
            axes.grid(alpha=0.2)
            if "/" in title:
                axes.axhline(1, color="0.5", linestyle=":", linewidth=1)
        path = pathlib.Path(path)
        with writing(path) as partial:
            figure.savefig(partial, dpi=120)
        return path


def diagnose(
    model: HyperModel,
    gamma_range: tuple[float, float] | None = None,
    *inputs: PyTree,
    seeds: int = 8,
    points: int = 21,
    seed: int = 0,
    **kwargs: Any,
) -> Diagnosis:
    """The verdict on a hypernetwork at initialisation: proportional, dead, exploding or sound.

    Args:
      model: from `hypernetize`.
      gamma_range: `(low, high)` along which gamma moves, all coordinates together; by default the model's own
        range, or [0, 1].
      *inputs: a batch for the primary; by default standard normal numbers in the shapes that the model was
        built with.
      seeds: how many initialisations.
      points: how many gammas.
      seed: of the initialisations and the default inputs.
      **kwargs: passed to the primary.

    Returns:
      A `Diagnosis`; `str()` of it is a sentence, `.plot(path)` the picture.

    Raises:
      GammaError: `gamma_range` is not an increasing pair.
      ConfigError: a seed that is none.

    >>> import flax.linen as nn
    >>> from hyperlab.hypernet.hypernetize import hypernetize
    >>> net = nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(10)])
    >>> diagnose(hypernetize(net, jnp.zeros((16, 8)), encoding="raw", parametrization="direct")).verdict
    'proportional'
    >>> diagnose(hypernetize(net, jnp.zeros((16, 8)))).verdict
    'sound'
    """
    if gamma_range is not None and not (len(gamma_range) == 2 and gamma_range[0] < gamma_range[1]):
        raise GammaError(f"gamma_range is {gamma_range!r}; expected (low, high) with low < high")
    check_seed(seed)
    model = model.extrapolating()
    gammas = model.gamma.grid(points, gamma_range)
    low, high = gamma_range or model.gamma.ranges[0][1] or (0.0, 1.0)
    kwargs = {**model.example_kwargs, **kwargs}
    key = jax.random.key(seed)
    if not inputs:
        inputs = tuple(_normal(jax.random.fold_in(key, i), x) for i, x in enumerate(concrete(model.example_inputs)))

    def measure(key: jax.Array) -> tuple[jax.Array, ...]:
        primary_key, _ = jax.random.split(jax.random.clone(key))  # as model.init splits it: the same primary
        own = model.primary.init(primary_key, *concrete(model.example_inputs), **model.example_kwargs)
        variables = model.init(key)
        target = jax.tree.map(jnp.square, model.primary.apply(own, *inputs, **kwargs))
        reference = jnp.sqrt(_mean(target))

        def loss(apply: Any) -> jax.Array:
            # Any smooth loss will do; this one weighs all outputs and is 1/2 for the ordinary primary's scale.
            return 0.5 * _mean(jax.tree.map(jnp.square, apply(*inputs, **kwargs))) / reference**2

        gradients = probes.gradient_norms(model, variables, gammas, loss)
        norms = probes.weight_norms(model, variables, gammas)["total"]
        ratios = probes.rms_ratio(model, variables, own, gammas)
        weights = jnp.array([model_sizes[path] for path in ratios]) / sum(model_sizes[path] for path in ratios)
        rms = jnp.sqrt(sum(w * jnp.square(r) for w, r in zip(weights, ratios.values(), strict=True)))
        return norms, rms, jnp.sqrt(2 * gradients.loss), gradients.theta

    model_sizes = {record.path: record.size for record in model.spec}
    keys = jax.random.split(jax.random.fold_in(key, 2**31), seeds)
    norms, rms, outputs, gradients = (np.asarray(a) for a in probes.over_gammas(measure, keys))
    positions = low + np.linspace(0, 1, points) * (high - low)
    diagnosis = Diagnosis((), positions, norms, rms, outputs, gradients)
    return dataclasses.replace(diagnosis, findings=_findings(diagnosis))


def _findings(d: Diagnosis) -> tuple[str, ...]:
    found = []
    finite = np.isfinite(d.norms).all() and np.isfinite(d.outputs).all() and np.isfinite(d.gradients).all()
    if not finite:
        found.append("non-finite")
    if d.growth > PROPORTIONAL_GROWTH and d.correlation > PROPORTIONAL_CORRELATION:
        found.append("proportional")
    if finite and np.median(d.outputs, 0).max() > EXPLODING_RATIO:
        found.append("exploding")
    if np.median(d.rms, 0).max() < DEAD_RATIO:
        found.append("dead")
    return tuple(found)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if not np.isfinite(y).all() or y.std() <= 1e-6 * max(y.mean(), 1e-30):
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _normal(key: jax.Array, like: Any) -> Any:
    def draw(path: Any, leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jax.random.normal(jax.random.fold_in(key, len(path)), leaf.shape, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, like)


def _mean(tree: PyTree) -> jax.Array:
    leaves = jax.tree.leaves(tree)
    total: Any = sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in leaves)
    return total / trees.count(leaves)
