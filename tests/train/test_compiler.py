import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from hyperlab.train import compiler

pytestmark = pytest.mark.fast


def test_a_convolution_on_a_cpu_is_not_given_to_ynnpack():
    layer, images = nn.Conv(32, (3, 3)), jnp.ones((2, 32, 32, 32))
    variables = layer.init(jax.random.key(0), images)

    def program(options):
        return jax.jit(layer.apply, compiler_options=options).lower(variables, images).compile().as_text()

    assert "__ynn_fusion" not in program(compiler.options())
    assert "__ynn_fusion" in program(None)  # when this fails, XLA no longer needs our help


def test_flags_of_the_environment_decide(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--{compiler.YNNPACK}=-reduce")
    assert compiler.options() is None


def test_an_xla_without_the_option_keeps_its_defaults(monkeypatch):
    monkeypatch.setattr(compiler, "YNNPACK", "xla_cpu_option_of_another_version")
    assert compiler.options() is None


def test_other_platforms_keep_their_defaults(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler.options() is None


def test_programs_are_counted_once_each_and_only_inside():
    double = jax.jit(lambda x: 2 * x)
    with compiler.compilations() as compiled:
        double(jnp.ones(3)), double(jnp.zeros(3))
    once = compiled.programs
    double(jnp.ones(4))
    with compiler.compilations() as again:
        double(jnp.ones(3))
    assert compiled.programs == once >= 1 and compiled.seconds > 0 and again.programs <= 1  # jnp.ones
