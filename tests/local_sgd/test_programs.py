"""What the compiled programs send, read from their text, and that sharding changes no number."""

import math
import re

import jax
import local_sgd_toys as toys
import numpy as np
import pytest
from collectives import Collective, program_collectives
from jax.sharding import NamedSharding, PartitionSpec

from hyperlab.errors import MeshError
from hyperlab.local_sgd import Config, Driver, Plan, mesh_shape, shardings, traffic
from hyperlab.local_sgd.accounting import payload
from hyperlab.local_sgd.measure import all_reduce_sweep
from hyperlab.train.mesh import make_mesh

OPTIMIZER = toys.sgd(0.05, momentum=0.9)


class Programs:
    """The compiled functions of a method on a mesh of four devices."""

    def __init__(self, config, shape=None):
        self.mesh = make_mesh(shape or mesh_shape(config.replicas, 4))
        self.method = toys.method(config, OPTIMIZER, self.mesh)
        self.state = toys.start(self.method, OPTIMIZER)
        self.where = shardings(self.state, self.mesh)
        rows = NamedSharding(self.mesh, PartitionSpec("replica", "data"))
        self.batch = jax.device_put(toys.replica_batch(0, config.replicas), rows)

    def step(self, name="local_step"):
        return self.read(getattr(self.method, name), self.state, self.batch, toys.ROOT, out=(self.where, None))

    def outer(self, *given):
        return self.read(lambda state: self.method.outer_step(state, *given), self.state, out=self.where)

    def read(self, function, *arguments, out):
        program = jax.jit(function, donate_argnums=0, out_shardings=out).lower(*arguments).compile()
        self.text = program.as_text()
        return program_collectives(self.text, math.prod(self.mesh.shape.values()))

    def sent(self, collectives):
        return sum(one.sent for one in collectives)


@pytest.mark.parametrize("replicas", [4, 8])
def test_a_local_step_sends_nothing_and_an_outer_step_is_one_all_reduce(replicas):
    config = Config("diloco", replicas, period=4)
    programs = Programs(config)
    assert programs.step() == []
    size = 4 * 16
    assert programs.outer() == [Collective("all-reduce", size, 4)]
    # the counter takes replicas for participants: as many as devices here, where they are four
    if replicas == 4:
        assert programs.sent(programs.outer()) == traffic(programs.state, config, 4).bytes_sent == 2 * 3 / 4 * size


def test_a_synchronous_step_is_one_all_reduce_of_the_gradient():
    config = Config("synchronous", 4)
    programs = Programs(config)
    assert programs.sent(programs.step("synchronous_step")) == traffic(programs.state, config, 1).bytes_sent
    assert len(program_collectives(programs.text, 4)) == 1


def test_data_parallelism_within_a_replica_stays_within_it():
    programs = Programs(Config("local", 2, period=4), {"replica": 2, "data": 2})
    inside = programs.step()
    assert {one.participants for one in inside} == {2} and {one.kind for one in inside} == {"all-reduce"}
    # devices 0 and 1 are replica 0; axis_1 is the mesh's second axis
    groups = re.findall(r" all-reduce\(.*?replica_groups=(.*?), \w+=", programs.text)
    assert groups and all(one in ("{{0,1},{2,3}}", "[2,2]<=[4]") or one.endswith("{'axis_1'}") for one in groups)
    assert programs.outer() == [Collective("all-reduce", 64, 2)]


def test_averaged_buffers_travel_in_the_same_all_reduce():
    config = Config("local", 4, period=4, inner_state="average")
    programs = Programs(config)
    assert programs.outer() == [Collective("all-reduce", 2 * 64, 4)]
    assert payload(programs.state, config).fragments == (2 * 64,)


@pytest.mark.parametrize(("name", "size"), [("int8", 24), ("sign", 11)])
def test_codes_are_gathered_as_bytes(name, size):
    config = Config("diloco", 4, period=4, compression=name)
    programs = Programs(config)
    assert programs.outer() == [Collective("all-gather", 4 * size, 4)]
    assert programs.sent(programs.outer()) == traffic(programs.state, config, 4).bytes_sent == 3 * size


def test_a_fragment_sends_its_own_leaves():
    config = Config("local", 4, period=4, fragments=("head", "**"))
    programs = Programs(config)
    assert programs.outer((0,)) == [Collective("all-reduce", 16, 4)]
    assert programs.outer((1,)) == [Collective("all-reduce", 48, 4)]
    assert traffic(programs.state, config, 8).peak_bytes == 1.5 * 64  # the last step: everything
    assert payload(programs.state, config).fragments == (16, 48)


def test_groups_average_within_themselves():
    config = Config("hierarchical", 4, period=4, levels=((2, 2),))
    programs = Programs(config)
    found = programs.read(lambda state: programs.method.group_step(state, 2), programs.state, out=programs.where)
    assert found == [Collective("all-reduce", 64, 2)]
    assert traffic(programs.state, config, 4).bytes_sent == 64 + 1.5 * 64


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ({"replica": 4, "data": 1}, {"kind": "post_local", "synchronous_steps": 1, "inner_state": "average"}),
        ({"replica": 2, "data": 2}, {"kind": "diloco", "compression": "int8"}),
    ],
)
def test_sharded_replicas_train_as_those_on_one_device(shape, options):
    config = Config(replicas=4, period=2, **options)
    programs = Programs(config, shape)
    driver, state = Driver(programs.method), programs.state
    for at in range(4):
        batch = jax.device_put(
            toys.replica_batch(at, 4), NamedSharding(programs.mesh, PartitionSpec("replica", "data"))
        )
        state, _ = driver(state, batch, toys.ROOT)
    alone = toys.run(config, OPTIMIZER, 4)
    toys.assert_close(jax.device_get(state.inner.params), alone.inner.params)
    toys.assert_close(jax.device_get(state.params), alone.params)
    assert jax.tree.leaves(state.inner.params)[0].sharding.spec == PartitionSpec("replica")


@pytest.mark.fast
def test_replicas_must_divide_by_the_devices_of_their_axis():
    method = toys.method(Config(replicas=3, period=2), OPTIMIZER)
    state = toys.start(method, OPTIMIZER)
    with pytest.raises(MeshError, match=r"3 replicas do not divide by the 2 devices.*'replica': 1"):
        shardings(state, make_mesh({"replica": 2, "data": 1}))
    with pytest.raises(MeshError, match="has no axis 'replica'"):
        shardings(state, make_mesh({"data": 4}))


@pytest.mark.fast
def test_collectives_are_read_in_every_way_they_are_written():
    lines = {
        "%a = (f32[10]{0}, f32[2,5]{1,0}) all-reduce(%x, %y), replica_groups=[2,4]<=[8], to_apply=%add": (80, 4),
        "%a = f32[8]{0} all-reduce-start(%x), replica_groups={}, to_apply=%add": (32, 8),
        "%a = (u8[2]{0}, u8[16]{0}) all-gather-start(%x), replica_groups={{0,1,2,3,4,5,6,7}}": (16, 8),
        "%a = bf16[8]{0} reduce-scatter(%x), replica_groups=mesh['a'=2,'b'=4] {'b'}": (16, 4),
        "%a = pred[8]{0} collective-permute(%x), source_target_pairs={{0,1}}": (8, 8),
    }
    for line, (size, participants) in lines.items():
        (found,) = program_collectives(line, 8)
        assert (found.result_bytes, found.participants) == (size, participants), line
    assert program_collectives("%a = f32[] all-reduce(%x), replica_groups={{0},{1}}", 2) == []
    assert program_collectives("%b = f32[] add(%all-reduce.1, %y)", 2) == []
    with pytest.raises(ValueError, match="unknown way"):
        program_collectives("%a = f32[] all-reduce(%x), replica_groups=<new>", 2)


def test_traffic_counts_every_event_of_the_plan():
    config = Config("post_local", 4, period=4, synchronous_steps=10)
    state = toys.start(toys.method(config, OPTIMIZER), OPTIMIZER)
    found, one = traffic(state, config, 21), 2 * 3 / 4 * 64
    assert (found.synchronous_steps, found.rounds, found.group_rounds) == (10, 3, 0)
    assert found.bytes_sent == 13 * one and found.synchronous_bytes == 21 * one
    assert found.share == pytest.approx(13 / 21) and found.exchanges_per_step == pytest.approx(13 / 21)
    assert traffic(state, config, 21, replicas=256).bytes_sent == pytest.approx(13 * 2 * 255 / 256 * 64)
    assert math.isnan(traffic(state, config, 21, replicas=1).share)
    assert np.sum([bool(Plan(config, 21).at(at).fragments) for at in range(21)]) == 3


def test_a_sweep_times_every_payload_and_needs_the_axis():
    sweep = all_reduce_sweep(make_mesh({"replica": 4}), [4000, 40_000], repeats=3)
    assert len(sweep) == 2 and min(sweep) > 0
    with pytest.raises(MeshError, match="has no axis 'replica'"):
        all_reduce_sweep(make_mesh({"data": 4}), [4])
