import optax
import pytest

from hyperlab.errors import ConfigError
from hyperlab.local_sgd import KINDS, Config, Event, Plan, periods

pytestmark = pytest.mark.fast

NEEDED = {
    "synchronous": {"period": 1},
    "post_local": {"synchronous_steps": 3},
    "hierarchical": {"levels": ((2, 2),)},
    "slowmo": {"learning_rate": 0.1},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_an_outer_optimizer_and_a_plan(kind):
    config = Config(**{"kind": kind, "replicas": 4, "period": 4} | NEEDED.get(kind, {}))
    assert isinstance(config.outer_transformation(), optax.GradientTransformationExtraArgs)
    events = [Plan(config, 9).at(step) for step in range(9)]
    assert events[-1] == (Event(synchronous=True) if kind == "synchronous" else Event(fragments=(0,)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "slowmotion"}, "unknown kind 'slowmotion'; did you mean 'slowmo'"),
        ({"inner_state": "avg"}, "unknown inner_state"),
        ({"collections": "sharing"}, "did you mean 'share'"),
        ({"compression": "int4"}, "did you mean 'int8'"),
        ({"period": 0}, "the period is 0"),
        ({"period": 2.5}, "the period is 2.5"),
        ({"period": lambda step: 0}, "begins at step 0 is 0"),
        ({"replicas": 0}, "replicas is a whole number of at least 1, got 0"),
        ({"kind": "synchronous", "period": 4}, "averages gradients at every step"),
        ({"kind": "post_local"}, "needs synchronous_steps"),
        ({"synchronous_steps": 5}, "it is 'post_local'"),
        ({"kind": "diloco", "synchronous_steps": -1}, "at least 0, got -1"),
        ({"kind": "slowmo"}, "needs learning_rate"),
        ({"kind": "slowmo", "learning_rate": 0.1, "outer_momentum": 1.0}, r"in \[0, 1\), got 1.0"),
        ({"kind": "slowmo", "learning_rate": 0.1, "outer_rate": 0.0}, "positive, got 0.0"),
        ({"outer": optax.sgd(1.0), "outer_rate": 1.0}, "give either outer"),
        ({"kind": "hierarchical"}, "needs levels"),
        ({"replicas": 8, "period": 8, "levels": ((2, 3),)}, r"level \(2, 3\)"),
        ({"replicas": 8, "period": 8, "levels": ((2, 8),)}, "smaller than they are"),
        ({"replicas": 8, "period": 8, "levels": ((2, 2), (3, 4))}, "periods rise"),
        ({"replicas": 8, "period": 6, "levels": ((4, 2),)}, "does not divide by the levels' last period 4"),
        ({"fragments": ("a", "b"), "period": 1}, "of at least 2, got 1"),
        ({"fragments": ("a", "b"), "period": 4, "inner_state": "reset"}, "maintains its inner state"),
        ({"fragments": ("a", "b"), "period": 4, "replicas": 4, "levels": ((2, 2),)}, "do not go together"),
    ],
)
def test_what_contradicts_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Config(**options)


def ends(config, steps, total=None):
    plan = Plan(config, total)
    return [step + 1 for step in range(steps) if plan.at(step).fragments]


def test_rounds_follow_their_schedule_and_the_last_is_cut_short():
    assert ends(Config(period=4), 12) == [4, 8, 12]
    assert ends(Config(period=4), 10, total=10) == [4, 8, 10]
    assert ends(Config(period=lambda step: 1 + step), 10) == [1, 3, 7]
    assert ends(Config("diloco", period=4, synchronous_steps=3), 12) == [7, 11]


def test_a_plan_can_be_asked_in_any_order():
    config = Config(period=periods.warm_up(4, 20))
    straight, plan = [Plan(config).at(step) for step in range(40)], Plan(config)
    assert [plan.at(step) for step in reversed(range(40))] == straight[::-1]


def test_a_period_below_one_later_in_training_names_the_step():
    with pytest.raises(ConfigError, match="begins at step 2 is 0"):
        ends(Config(period=lambda step: 2 if step < 2 else 0), 6)


def test_the_largest_group_that_is_due_averages_and_a_round_end_covers_it():
    plan = Plan(Config("hierarchical", 8, 8, levels=((2, 2), (4, 4))))
    assert [plan.at(step).group for step in range(8)] == [None, 2, None, 4, None, 2, None, None]
    assert plan.at(7).fragments == (0,)


def test_fragments_take_turns_each_every_period_steps():
    config = Config(period=6, fragments=("a", "b", "c"))
    plan = Plan(config)
    due = {step + 1: plan.at(step).fragments for step in range(14) if plan.at(step).fragments}
    assert due == {2: (1,), 4: (2,), 6: (0,), 8: (1,), 10: (2,), 12: (0,), 14: (1,)}
    assert Plan(config, 7).at(6).fragments == (0, 1, 2)


def test_the_quadratic_rule_lengthens_rounds_as_the_rate_falls():
    rate = lambda step: 0.0 if step < 5 else 0.1 if step < 50 else 0.0  # noqa: E731
    period = periods.quadratic(2, 0.3, rate, warmup_steps=5)
    assert period(0) == period(5) == 9 and period(60) == periods.LONGEST
    assert ends(Config(period=period), 60, total=60) == [9, 18, 27, 36, 45, 54, 60]
    assert periods.quadratic(4, 0.1, lambda step: 0.1)(0) == 4
    with pytest.raises(ConfigError, match="positive, got 0"):
        periods.quadratic(4, 0, rate)


def test_steps_outside_the_run_are_refused():
    with pytest.raises(ConfigError, match="step 10 is not one of the run's 10 steps"):
        Plan(Config(), 10).at(10)
