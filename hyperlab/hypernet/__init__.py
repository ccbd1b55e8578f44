"""Hypernetworks: from a conditioning input to the parameters of another network."""

from hyperlab.hypernet.certificate import Certificate
from hyperlab.hypernet.certify import certify
from hyperlab.hypernet.decay import decayed
from hyperlab.hypernet.diagnose import Diagnosis, diagnose
from hyperlab.hypernet.hypernetize import hypernetize
from hyperlab.hypernet.model import HyperModel
from hyperlab.hypernet.network import HyperNetwork
from hyperlab.hypernet.prefit import prefit
from hyperlab.hypernet.primary import Primary, as_primary, own_start
from hyperlab.hypernet.spec import ParamSpec, Record
from hyperlab.hypernet.statistics import calibrated

__all__ = [
    "Certificate",
    "Diagnosis",
    "HyperModel",
    "HyperNetwork",
    "ParamSpec",
    "Primary",
    "Record",
    "as_primary",
    "calibrated",
    "certify",
    "decayed",
    "diagnose",
    "hypernetize",
    "own_start",
    "prefit",
]
