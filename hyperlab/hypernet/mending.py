"""What would mend a hypernetwork: changes of one option, tried on it."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hyperlab.hypernet.certificate import Certificate
from hyperlab.hypernet.encodings import CosSin, GaussianCdf, Rescaled
from hyperlab.hypernet.initializers import INITIALIZERS
from hyperlab.hypernet.model import HyperModel
from hyperlab.hypernet.parametrizations import Additive, Scaled

BOUNDED = "encoding='cos_sin' of gamma brought to 0..1"


def mended(model: HyperModel, found: Certificate, judged: Callable[[HyperModel], Certificate]) -> Certificate:
    """The certificate with the first change that is sound, or with the one that comes nearest."""
    tried: list[tuple[str, Certificate]] = []
    for change, changed in changes(model, found.gammas):
        tried.append((change, judged(changed)))
        if tried[-1][1].sound:
            break
    if not tried:
        return found
    change, best = min(tried, key=lambda one: (len(one[1].findings), one[1].risk))
    return dataclasses.replace(found, change=change, mended=best)


def changes(model: HyperModel, positions: np.ndarray) -> Iterator[tuple[str, HyperModel]]:
    """One option at a time, the likeliest first; then the default of `hypernetize`."""

    def network(**changes: Any) -> HyperModel:
        return model.replace(network=model.network.clone(**changes), expected=None)

    direct = not model.parametrization.uses_theta0
    bounded = _bounded(model, positions)
    if direct:
        yield "parametrization='additive'", model.replace(parametrization=Additive())
    if model.gamma.size > 1 and not model.network.scale_by_dimension:
        yield "scale_by_dimension=True", network(scale_by_dimension=True)
    if bounded is not None:
        yield BOUNDED, network(encoding=bounded)
    if not direct and not isinstance(model.parametrization, Scaled):
        yield "parametrization='scaled:0.1'", model.replace(parametrization=Scaled(0.1))
    if model.network.normalization is None:
        yield "normalization='unit_norm'", network(normalization="unit_norm")
    if INITIALIZERS.get(model.network.initializer) is not INITIALIZERS.get("fan_out"):
        yield "initializer='fan_out'", network(initializer="fan_out")
    whole = {"encoding": bounded or model.network.encoding, "initializer": "fan_out", "scale_by_dimension": True}
    default = network(**whole, normalization=None, head_bias=None)
    yield "the defaults of hypernetize and scale_by_dimension=True", default.replace(parametrization=Additive())


def _bounded(model: HyperModel, positions: np.ndarray) -> Any:
    """An encoding of constant norm for the same gammas; None where there is one, or inputs have names."""
    encoding = model.network.encoding
    inner = getattr(encoding, "encoding", encoding)
    if isinstance(encoding, tuple) or inner == "cos_sin" or isinstance(inner, CosSin):
        return None
    low, high = model.gamma.ranges[0][1] or (float(positions.min()), float(positions.max()))
    return GaussianCdf() if low < 0 and model.gamma.ranges[0][1] is None else Rescaled(low, high)
