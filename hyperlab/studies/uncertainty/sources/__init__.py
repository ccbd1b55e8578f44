"""Sources of uncertainty: each is one class, with one interface."""

from hyperlab.studies.uncertainty.sources.base import Problem, Source
from hyperlab.studies.uncertainty.sources.bayesian import Bayesian
from hyperlab.studies.uncertainty.sources.smooth_noise import SmoothNoise
from hyperlab.studies.uncertainty.sources.tyche import Tyche
from hyperlab.studies.uncertainty.sources.unet import ElementDropout, Ensemble, OnePass, SpatialDropout

__all__ = ["Bayesian", "ElementDropout", "Ensemble", "OnePass", "Problem", "SmoothNoise", "Source", "SpatialDropout",
           "Tyche"]  # fmt: skip
