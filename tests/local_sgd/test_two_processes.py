"""Two real processes over gloo train the replicas that one process trains."""

import json
import sys
from pathlib import Path

import jax
import local_sgd_toys as toys
import numpy as np
import pytest

from hyperlab.local_sgd import Config
from hyperlab.train import distributed

pytestmark = pytest.mark.slow

SCRIPT = r"""
import json, sys
import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
from hyperlab.train import distributed
assert distributed.initialize(timeout=60)
sys.path.insert(0, sys.argv[1])
import local_sgd_toys as toys
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from hyperlab.local_sgd import Config, Driver, mesh_shape, shardings
from hyperlab.train.mesh import make_mesh

config, optimizer = Config(replicas=4, **json.loads(sys.argv[2])), toys.sgd(0.05, momentum=0.9)
mesh = make_mesh(mesh_shape(4, 4))
method = toys.method(config, optimizer, mesh)
make = lambda: method.create(toys.state.create({"params": toys.params()}, optimizer))
state = jax.jit(make, out_shardings=shardings(jax.eval_shape(make), mesh))()
driver, rows = Driver(method), NamedSharding(mesh, PartitionSpec("replica"))
mine = slice(2 * jax.process_index(), 2 * jax.process_index() + 2)
for at in range(5):
    batch = jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(rows, leaf[mine]), toys.replica_batch(at, 4)
    )
    state, metrics = driver(state, batch, toys.ROOT)
print(json.dumps({"params": {name: np.asarray(leaf).tolist() for name, leaf in state.params.items()}}))
"""


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "post_local", "period": 2, "synchronous_steps": 1},
        {"period": 4, "fragments": ["hidden", "head"]},  # streaming: one fragment every two steps
        {"period": 2, "inner_state": "average", "compression": "int8"},
    ],
    ids=["post-local", "streaming", "8 bits, momenta averaged"],
)
def test_two_processes_are_one_run(tmp_path, options):
    (tmp_path / "script.py").write_text(SCRIPT)
    helpers = Path(toys.__file__).parent
    command = [sys.executable, str(tmp_path / "script.py"), str(helpers), json.dumps(options)]
    done = distributed.launch_local(command, 2, timeout=100)
    assert [one.returncode for one in done] == [0, 0], [one.stderr[-2000:] for one in done]
    found = [json.loads(one.stdout.splitlines()[-1])["params"] for one in done]
    assert found[0] == found[1]
    alone = toys.run(Config(replicas=4, **options), toys.sgd(0.05, momentum=0.9), 5)
    toys.assert_close(
        {name: np.array(leaf, np.float32) for name, leaf in found[0].items()}, jax.device_get(alone.params)
    )
