"""What devices send to each other, from lines that compilers of a CPU and of a TPU v5e wrote (jax 0.10.2)."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from hyperlab.planning.collectives import Collective, array_bytes, collectives

pytestmark = pytest.mark.fast

CPU = """
ENTRY %main (param: f32[256,256]) -> f32[256,512] {
  %param.1 = f32[16,256]{1,0} parameter(1), sharding={devices=[4,1]<=[4]}
  %collective-permute = f32[1,256]{1,0} collective-permute(%wrapped_slice), channel_id=3, source_target_pairs={{0,2},{1,3},{2,0},{3,1}}
  %all-reduce = f32[256,256]{1,0} all-reduce(%dot.1), channel_id=1, replica_groups={{0,2},{1,3}}, to_apply=%add.clone
  %transpose_subtract_fusion = f32[256,256]{0,1} fusion(%all-reduce, %param), kind=kLoop, calls=%fused_computation.2
  ROOT %all-gather = f32[256,512]{0,1} all-gather(%fusion), replica_groups=mesh['axis_0'=1,'axis_1'=2,'axis_2'=2], device_ids=([2,2]T(1,0)) {'axis_1'}, dimensions={1}
}
"""  # noqa: E501  # as they were written
TPU = """
  %all-reduce = f32[256,256]{1,0:T(8,128)S(1)} all-reduce(%fusion), channel_id=1, replica_groups=[2,2]<=[2,2]T(1,0), use_global_device_ids=true, to_apply=%add.clone
  %collective-permute-start = (f32[1,256]{1,0:T(1,128)S(1)}, f32[1,256]{1,0:T(1,128)S(1)}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%slice.6), channel_id=3, source_target_pairs={{0,2},{1,3},{2,0},{3,1}}
  %collective-permute-done = f32[1,256]{1,0:T(1,128)S(1)} collective-permute-done(%collective-permute-start)
  %all-gather.5 = f32[256,512]{1,0:T(8,128)S(1)} all-gather(%sub.8), channel_id=2, replica_groups=mesh['axis_0'=1,'axis_1'=2,'axis_2'=2], device_ids=([2,2]T(1,0)) {'axis_1'}, dimensions={1}, frontend_attributes={async_collective_name="all-gather-start"}
"""  # noqa: E501


@pytest.mark.parametrize("text", [CPU, TPU], ids=["cpu", "tpu"])
def test_recorded_lines(text):
    found = {one.name: one for one in collectives(text, 4)}
    assert len(collectives(text, 4)) == 3
    assert found["all-reduce"] == Collective("all-reduce", 256 * 256 * 4, 2)
    assert found["all-gather"] == Collective("all-gather", 256 * 512 * 4, 2)
    assert found["collective-permute"][:2] == ("collective-permute", 1024)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%r = (f32[8]{0}, bf16[4,2]{1,0}) all-reduce(%a, %b), replica_groups=[1,8]<=[8]", ("all-reduce", 48, 8)),
        ("%r = (f32[8]{0}, f32[64]{0}) all-gather-start(%a), replica_groups=[1,8]<=[8]", ("all-gather", 256, 8)),
        ("%r = f32[8]{0} all-reduce-start(%a), replica_groups={{0,1,2,3}}, to_apply=%add", ("all-reduce", 32, 4)),
        ("ROOT %r = f32[8]{0} reduce-scatter(%a), replica_groups=[2,4]<=[8]", ("reduce-scatter", 128, 4)),
        ("%r = pred[] all-reduce(%a), replica_groups={}, to_apply=%and", ("all-reduce", 1, 8)),
        ("%r = f32[8]{0} all-to-all(%a), replica_groups=mesh['a'=2,'b'=4], {'a','b'}", ("all-to-all", 32, 8)),
        ("%r = f32[8]{0} all-reduce(%a), replica_groups=mesh['a'=8], {'a':(1)2}", ("all-reduce", 32, 2)),
    ],
)  # fmt: skip
def test_forms_of_a_line(line, expected):
    assert collectives(f"  {line}", 8) == [Collective(*expected)]


@pytest.mark.parametrize(
    "line",
    [
        "%d = f32[8]{0} all-reduce-done(%s)",
        "%f = f32[8]{0} fusion(%all-reduce), calls=%fused",
        "%r = f32[8]{0} all-reduce(%a), replica_groups={{0},{1}}, to_apply=%add",  # each alone: nothing is sent
    ],
)
def test_what_is_none(line):
    assert collectives(f"  {line}", 2) == []


def test_bytes_of_types():
    text = "(f32[2,3]{1,0}, bf16[5], s8[7], pred[3], u32[], f8e4m3fn[4], c64[2])"
    assert array_bytes(text) == [24, 10, 7, 3, 4, 4, 16]


def test_ring_formulas():
    assert Collective("all-reduce", 80, 8).sent == 140  # reduced and gathered, 7/8 of it each
    assert Collective("all-gather", 80, 8).sent == Collective("reduce-scatter", 80, 8).sent == 70
    assert Collective("collective-permute", 80, 8).sent == 80


def test_a_program_that_is_compiled_here():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    rows = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec("data")))
    whole = jax.ShapeDtypeStruct((16, 32), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec()))
    gradient = jax.grad(lambda kernel, rows: ((rows @ kernel) ** 2).sum())
    text = jax.jit(gradient).lower(whole, rows).compile().as_text()
    assert collectives(text, 4) == [Collective("all-reduce", 16 * 32 * 4, 4)]
