"""Local SGD: replicas that train alone for a while, and what brings them together again.

`Config` says when replicas talk and what they say; `build` makes the pure functions of that method from the step of one
replica; `Driver` takes them through the training loop. `accounting` counts what is sent, `cost_model` predicts what
that takes, `divergence` measures how far replicas drift.

Replicas are a leading axis of arrays, not devices: 32 of them can be studied on one device, at 32 times the memory for
parameters and optimizer state.
"""

from hyperlab.local_sgd import accounting, compression, cost_model, divergence, measure, periods, policies
from hyperlab.local_sgd.accounting import Traffic, traffic
from hyperlab.local_sgd.config import KINDS, Config
from hyperlab.local_sgd.cost_model import ARCHETYPES, Link
from hyperlab.local_sgd.gradients import inner_optimizer
from hyperlab.local_sgd.method import Driver, Method, build
from hyperlab.local_sgd.plan import Event, Plan
from hyperlab.local_sgd.slow_momentum import OUTERS, SlowMoState, outer_optimizer, slowmo
from hyperlab.local_sgd.state import (
    LocalState,
    check_boundary,
    create,
    mesh_shape,
    replicate,
    resize,
    shardings,
    split_batch,
    strided,
)
from hyperlab.local_sgd.steps import averaged

__all__ = [
    "ARCHETYPES",
    "KINDS",
    "OUTERS",
    "Config",
    "Driver",
    "Event",
    "Link",
    "LocalState",
    "Method",
    "Plan",
    "SlowMoState",
    "Traffic",
    "accounting",
    "averaged",
    "build",
    "check_boundary",
    "compression",
    "cost_model",
    "create",
    "divergence",
    "inner_optimizer",
    "measure",
    "mesh_shape",
    "outer_optimizer",
    "periods",
    "policies",
    "replicate",
    "resize",
    "shardings",
    "slowmo",
    "split_batch",
    "strided",
    "traffic",
]
