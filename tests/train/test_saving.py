"""What is saved of a unit's trainings: when, in which order, and what is left of it in the end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperlab.errors import ConfigError
from hyperlab.train import durations
from hyperlab.train.checkpoints import Checkpoints
from hyperlab.train.curves import Curve
from hyperlab.train.loop import fit
from hyperlab.train.saving import Saves
from hyperlab.train.signals import AgreedStop, StopFlag

STEPS = 12


@pytest.fixture
def clock():
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    return Clock()


@jax.jit
def add(state, batch, key):
    state = {"w": state["w"] + batch}
    return state, {"loss": state["w"]}


def train(saves, *, stop=None, steps=STEPS, at_step=lambda step: None, log=()):
    """A training that sums up its steps, and remembers every loss and an evaluation of every third state."""
    training, curve, losses = saves.training(steps), Curve(steps, 3, {"sum": ()}), np.full(steps, np.nan)

    def batch(step):
        at_step(step)
        return jnp.float32(step)

    def observe(step, metrics):
        losses[step] = metrics["loss"]

    kept = {"curve": curve.values, "losses": losses}

    def saved(step):
        training.saved(step)
        if log != ():
            log.append(step)

    options = {"checkpoints": training.checkpoints, "save_due": training.due, "saved": saved}
    state = fit({"w": jnp.float32(0)}, add, batch, total_steps=steps, root_key=jax.random.key(0), kept=kept,
                evaluate=lambda state, step, stop: curve.put(step, sum=state["w"]), evaluate_every=3, observe=observe,
                summarize=lambda metrics: {}, stop=stop, meta=training.meta, save_last=False, **options)  # fmt: skip
    if stop is None or not stop.requested:
        training.ended({"state": state, "kept": kept})
    else:
        training.checkpoints.close()
    return state["w"], curve, losses, training


def steps_on_disk(folder):
    with Checkpoints(folder) as checkpoints:
        return checkpoints.latest_step()


@pytest.mark.fast
@pytest.mark.parametrize(("text", "interval"), [
    ("5 min", (0, 300.0)), ("1.5 h", (0, 5400.0)), ("90 s", (0, 90.0)), ("500 steps", (500, 0.0)), (20, (20, 0.0)),
    (0, (0, 0.0)), ("0 steps", (0, 0.0)),
])  # fmt: skip
def test_intervals_are_read_by_the_clock_or_in_steps(text, interval):
    assert durations.interval(text) == interval


@pytest.mark.fast
@pytest.mark.parametrize("text", ["soon", "5 minutes ago", "-1 min", -3, "2 epochs", None, 2.5, "5 min 3 s"])
def test_other_intervals_are_refused(text):
    with pytest.raises(ConfigError, match="an interval is"):
        durations.interval(text)


def test_what_callbacks_keep_comes_back_and_the_end_is_the_same(tmp_path):
    _, curve, losses, _ = train(Saves("u", tmp_path / "a", durations.Interval()))
    stop = StopFlag()
    cut = train(Saves("u", tmp_path / "b", durations.Interval()), stop=stop,
                at_step=lambda step: stop.request("now") if step == 6 else None)  # fmt: skip
    assert cut[3].report == ("u", 7, STEPS)  # at the next step
    assert np.isnan(cut[2][7:]).all()
    done = []
    state, again, rest, _ = train(Saves("u", tmp_path / "b", durations.Interval()), at_step=done.append)
    assert done == [7, 8, 9, 10, 11] and float(state) == sum(range(STEPS))
    np.testing.assert_array_equal(again.values["sum"], curve.values["sum"])
    np.testing.assert_array_equal(rest, losses)
    assert rest.dtype == np.float64


def test_saves_are_as_far_apart_as_the_clock_says(tmp_path, clock):
    def at_step(step):
        clock.now += 3

    log = []
    train(Saves("u", tmp_path, durations.Interval(seconds=10), clock=clock), at_step=at_step, log=log)
    assert log == [4, 8, 12]  # before the first step at which ten seconds have gone by


def test_without_an_interval_nothing_is_written_but_at_a_stop(tmp_path):
    train(Saves("u", tmp_path / "saves", durations.Interval()))
    assert not (tmp_path / "saves").exists()


def test_saves_by_steps(tmp_path):
    train(Saves("u", tmp_path, durations.Interval(steps=5)))
    assert steps_on_disk(tmp_path / "0") == 10


def test_trainings_that_have_ended_are_saved_with_the_next_and_not_done_again(tmp_path, clock):
    saves = Saves("u", tmp_path, durations.Interval(seconds=10), clock=clock)
    train(saves)
    assert not (tmp_path / "0").exists()  # it took no time
    clock.now = 11
    train(saves)
    assert steps_on_disk(tmp_path / "0") == STEPS
    done = []
    again = Saves("u", tmp_path, durations.Interval(seconds=10), clock=clock)
    state, curve, losses, _ = train(again, at_step=done.append)
    assert done == [] and float(state) == sum(range(STEPS))
    assert not np.isnan(losses).any() and not np.isnan(curve.values["sum"]).any()


def test_a_stopped_unit_has_all_its_trainings_on_disk(tmp_path):
    saves, stop = Saves("u", tmp_path, durations.Interval()), StopFlag()
    train(saves)
    train(saves, stop=stop, at_step=lambda step: stop.request("now") if step == 2 else None)
    saves.flush()
    assert [steps_on_disk(tmp_path / name) for name in "01"] == [STEPS, 3]
    saves.done()
    assert not tmp_path.exists()


@pytest.mark.fast
def test_a_stop_that_is_to_be_agreed_on_is_none_before():
    own = StopFlag()
    stop = AgreedStop(own)
    stop.request("SIGTERM")
    assert (own.requested, stop.requested, stop.reason) == (True, False, "SIGTERM")
    stop.agree()
    assert stop.requested
