"""Arms are defined completely, and only run where they are not another arm."""

import pytest

from hyperlab import local_sgd
from hyperlab.errors import ConfigError
from hyperlab.studies.local_sgd import ARMS, find
from hyperlab.studies.local_sgd.arms import NUMBERS, Arm
from hyperlab.studies.local_sgd.programs import method_of

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_makes_a_method_and_says_what_it_is(name):
    arm = ARMS[name]
    config = method_of(arm, 8, 16, 64, {"first": {"kernel": 0}, "second": {"kernel": 0}})
    assert isinstance(config, local_sgd.Config) and config.replicas == 8
    assert arm.label and arm.definition() and set(arm.space) <= set(NUMBERS)
    assert len({one.label for one in ARMS.values()}) == len(ARMS)
    if arm.kind == "post_local":
        assert config.synchronous_steps == round(64 * arm.switch)
    assert (config.compression, len(config.fragments)) == (arm.compression, arm.fragments)
    if arm.kind != "synchronous":
        assert arm.takes(16, 8) and config.period == 16


def test_a_training_without_a_period_of_synchronous_steps_is_named_as_too_short():
    with pytest.raises(ConfigError, match=r"7 steps on 512 replicas is too short.*25%.*period of 16 steps"):
        method_of(find("post_local_25"), 512, 16, 7)


def test_what_would_be_another_arm_is_not_run():
    assert [find(name).takes(1, 8) for name in ("synchronous", "local", "slowmo", "diloco")] == [True] * 4
    assert not any(find(name).takes(1, 8) for name in ("large_batch", "post_local", "int8", "hierarchical"))
    assert not find("synchronous").takes(4, 8) and find("large_batch").takes(4, 8)
    assert not find("hierarchical").takes(6, 8) and not find("hierarchical").takes(8, 3)
    assert not find("hierarchical").takes(8, 2)  # two groups of one replica are local SGD
    assert find("powersgd").takes(1, 8) and not find("sign_gradients").takes(4, 8)
    assert find("fragments").takes(4, 8) and not find("fragments").takes(3, 8)


def test_the_control_has_the_effective_rate_of_slow_momentum_and_no_momentum():
    rate, momentum = find("slowmo").outer_numbers({"rate": 0.1, "beta": 0.8})
    control = find("control").outer_numbers({"rate": 0.1, "beta": 0.8})
    assert control == (pytest.approx(rate / (1 - momentum)), 0.0)
    assert find("local").outer_numbers({"rate": 0.1}) == (1.0, 0.0)
    assert find("lookahead").outer_numbers({"rate": 0.1, "outer_rate": 0.5}) == (0.5, 0.0)


def test_an_unknown_arm_and_one_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="'slowmo'"):
        find("slomo")
    with pytest.raises(ConfigError, match="kind is 'locl'.*'local'"):
        Arm("mine", kind="locl")
    with pytest.raises(ConfigError, match="outer is 'heavy'"):
        Arm("mine", outer="heavy")
