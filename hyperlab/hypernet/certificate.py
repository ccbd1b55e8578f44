"""What a certificate says of a hypernetwork before step 0: its numbers, the parts that are not sound, the picture."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from hyperlab.files import writing
from hyperlab.hypernet import probes

# Where one verdict ends and the next begins. The reference table of parametrisations at initialisation falls
# well to either side of each: proportional rows grow 20-fold and correlate by 1.00, others grow below 3-fold.
PROPORTIONAL_GROWTH, PROPORTIONAL_CORRELATION = 3.0, 0.98
DEAD_RATIO, EXPLODING_RATIO = 0.25, 10.0

# How many times an ordinary network's a number may be, where batch and loss are given. `benchmarks/certificate.py` says
# how well they foretell which runs of a map diverge, on arms and laws that they were not set on.
LIMITS = {"outputs": 3.0, "gradients": 3.0, "steps": 75.0, "leaf": 3.0, "uneven": 10.0}

ADVICE = {
    "proportional": "use parametrization='additive' with encoding='cos_sin'",
    "dead": "use parametrization='additive', or initializer='scale_matched'",
    "exploding": "use initializer='fan_out' with parametrization='additive'",
    "non-finite": "look at the primary itself: its own initialisation may overflow on these inputs",
    "outputs": "divide the encoding by sqrt(d) with scale_by_dimension=True, or use parametrization='scaled:0.1'",
    "gradients": "divide the encoding by sqrt(d) with scale_by_dimension=True, or use parametrization='scaled:0.1'",
    "steps": "divide the encoding by sqrt(d) with scale_by_dimension=True, or use parametrization='scaled:0.1'",
    "leaf": "use parametrization='additive', or initializer='scale_matched'",
    "uneven": "use encoding='cos_sin', whose norm is constant",
}


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What a hypernetwork looks like before training. What `certify` and `diagnose` return.

    Attributes:
      findings: all that hold, the first is the verdict; empty for a sound model. Without batch and loss of
        `non-finite`, `proportional`, `exploding`, `dead`; with them also of `outputs`, `gradients`, `steps`, `leaf` and
        `uneven`, where the excess of that name is above 1.
      gammas: `[points]`, the position along the range; of given draws, their norms.
      norms: `[seeds, points]`, norm of the generated parameters.
      rms: `[seeds, points]`, rms of the generated kernels over the primary's own initialisation.
      outputs: `[seeds, points]`, rms of the primary's output over that of the ordinary primary.
      gradients: `[seeds, points]`, norm of the gradient at the generated parameters.
      plain_gradients: `[seeds]`, norm of the ordinary primary's gradient at the same leaves.
      omega_gradients: `[seeds, points]`, norm of the gradient at all that theta is made from. Its square over that of
        the ordinary gradient is how many times as far a step of gradient descent goes.
      leaves: `{path: [seeds, points]}`, rms of each generated leaf over the primary's own. A leaf that rests at zero
        is measured by the rms of its layer's outputs for inputs of rms 1.
      head: parameters of the head over those of the primary that it generates.
      judged: whether a batch and a loss were given.
      change: an option of `hypernetize` that mends it, where one was sought and found.
      mended: the certificate with that change.
    """

    findings: tuple[str, ...]
    gammas: Float[np.ndarray, " points"]
    norms: Float[np.ndarray, "seeds points"]
    rms: Float[np.ndarray, "seeds points"]
    outputs: Float[np.ndarray, "seeds points"]
    gradients: Float[np.ndarray, "seeds points"]
    plain_gradients: Float[np.ndarray, " seeds"] = dataclasses.field(default_factory=lambda: np.ones(1))
    omega_gradients: Float[np.ndarray, "seeds points"] = dataclasses.field(default_factory=lambda: np.ones((1, 1)))
    leaves: Mapping[str, Float[np.ndarray, "seeds points"]] = dataclasses.field(default_factory=dict)
    head: float = 0.0
    judged: bool = False
    change: str = ""
    mended: "Certificate | None" = None

    @property
    def verdict(self) -> str:
        """The first finding, or `sound`."""
        return self.findings[0] if self.findings else "sound"

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    # -- numbers -----------------------------------------------------------------------------------------------

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

    @property
    def output_variation(self) -> float:
        """Coefficient of variation of the output's rms over gamma."""
        return float(np.median(probes.coefficient_of_variation(self.outputs, 1)))

    @property
    def gradient_ratio(self) -> float:
        """The largest gradient along gamma over the ordinary network's: median over seeds."""
        return _largest(self.gradients / _positive(self.plain_gradients)[:, None])

    @property
    def step_ratio(self) -> float:
        """How many times as far a step of gradient descent goes as the ordinary network's, at the largest gamma."""
        return _largest(np.square(self.omega_gradients / _positive(self.plain_gradients)[:, None]))

    @property
    def scales(self) -> dict[str, tuple[float, float]]:
        """`{path: (smallest, largest)}` along gamma of each leaf's rms over the primary's own: medians over seeds."""
        return {path: _range(ratio) for path, ratio in self.leaves.items()}

    @property
    def worst(self) -> tuple[str, float]:
        """The leaf whose scale is farthest above the primary's own, and how many times it is that."""
        if not self.leaves:
            return "", 1.0
        path = max(self.scales, key=lambda name: self.scales[name][1])
        return path, self.scales[path][1]

    @property
    def excesses(self) -> dict[str, float]:
        """Each measured number over its limit: above 1 it is too large."""
        unevenness = max(_spread(self.outputs), _spread(self.gradients))
        measured = {
            "outputs": _largest(self.outputs),
            "gradients": self.gradient_ratio,
            "steps": self.step_ratio,
            "leaf": self.worst[1],
            "uneven": unevenness,
        }
        return {name: value / LIMITS[name] for name, value in measured.items()}

    @property
    def risk(self) -> float:
        """The largest excess; infinite where something is not finite. The higher, the likelier training diverges."""
        largest = max(self.excesses.values())
        return float(largest) if np.isfinite(largest) else float("inf")

    # -- in words ----------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        low, high = np.median(self.rms, 0).min(), np.median(self.rms, 0).max()
        text = (
            f"{self.verdict}: the generated parameters change {self.growth:.3g}x in norm over gamma "
            f"(correlation with its magnitude {self.correlation:.2f}); their rms is {low:.2g} to {high:.2g} of "
            f"the primary's own initialisation; outputs are up to {np.median(self.outputs, 0).max():.2g}x the "
            f"ordinary primary's; gradient norm varies by {self.gradient_variation:.2f} (std over mean)"
        )
        if self.judged:
            path, scale = self.worst
            text += (
                f" and is up to {self.gradient_ratio:.2g}x the ordinary primary's; a step goes {self.step_ratio:.2g}x "
                f"as far; the worst leaf is {path}, at {scale:.2g}x its own scale; the head has {self.head:.3g}x the "
                "parameters of what it generates"
            )
        if len(self.findings) > 1:
            text += "; also " + ", ".join(self.findings[1:])
        if self.mended is not None:
            return f"{text}; with {self.change}: {self.mended}"
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


def with_findings(c: Certificate) -> Certificate:
    """The certificate with what its numbers come to."""
    found = []
    finite = all(np.isfinite(values).all() for values in (c.norms, c.outputs, c.gradients))
    if not finite:
        found.append("non-finite")
    if c.growth > PROPORTIONAL_GROWTH and c.correlation > PROPORTIONAL_CORRELATION:
        found.append("proportional")
    if finite and np.median(c.outputs, 0).max() > EXPLODING_RATIO:
        found.append("exploding")
    if np.median(c.rms, 0).max() < DEAD_RATIO:
        found.append("dead")
    if finite and c.judged:
        found += [name for name, excess in c.excesses.items() if excess > 1]
    return dataclasses.replace(c, findings=tuple(found))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if not np.isfinite(y).all() or y.std() <= 1e-6 * max(y.mean(), 1e-30):
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _positive(values: Any) -> np.ndarray:
    return np.maximum(values, 1e-30)


def _largest(values: np.ndarray) -> float:
    """Median over seeds of the largest along gamma."""
    return float(np.median(values.max(1)))


def _range(values: np.ndarray) -> tuple[float, float]:
    return float(np.median(values.min(1))), float(np.median(values.max(1)))


def _spread(values: np.ndarray) -> float:
    """Median over seeds of the largest over the smallest; without the lowest twentieth, where a raw gamma is zero."""
    low = np.quantile(values, 0.05, axis=1)
    return float(np.median(values.max(1) / _positive(low)))
