"""The small host services of a run: durations, derived keys, signals, progress."""

import io
import os
import signal
import subprocess
import sys

import jax
import pytest

from hyperlab.errors import ConfigError
from hyperlab.train import durations, rngs
from hyperlab.train.progress import Progress
from hyperlab.train.signals import StopFlag


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (7, 7),
        ("7", 7),
        ("7 steps", 7),
        ("1 step", 1),
        ("2 epochs", 32),
        ("0.1 epochs", 2),
        ("1e3 examples", 16),
        ("64 examples", 1),
        ("65 examples", 2),
        ("0 steps", 0),
        ("0.0000000001 steps", 1),
        ("0.001 epochs", 1),
        ("2147483647 steps", 2**31 - 1),
    ],
)
def test_durations(duration, expected):
    assert durations.steps(duration, batch_size=64, examples=1000) == expected


def test_a_whole_number_of_epochs_gains_no_step_by_rounding():
    for examples in range(1, 200):
        assert durations.steps("0.1 epochs", batch_size=1, examples=10 * examples) == examples


@pytest.mark.parametrize(
    "duration", ["-1 steps", "soon", "3 weeks", 1.5, -1, True, None, 2**31, "1e400 steps", "1e9 epochs"]
)
def test_other_durations_are_refused(duration):
    with pytest.raises(ConfigError, match="duration"):
        durations.steps(duration, batch_size=64, examples=1000)


@pytest.mark.parametrize(("duration", "steps"), [("96 examples", 3), ("5 steps", 5), ("2 Epochs", None)])
def test_steps_that_are_known_without_data(duration, steps):
    assert durations.known(duration, batch_size=32) == steps


def test_epochs_need_the_sizes():
    with pytest.raises(ConfigError, match="number of examples"):
        durations.steps("1 epoch", batch_size=64)
    with pytest.raises(ConfigError, match="batch size"):
        durations.steps("10 examples")


def test_streams_differ_by_name_step_and_root_and_by_nothing_else():
    roots = [jax.random.key(0), jax.random.key(1)]
    keys = [
        tuple(jax.random.key_data(rngs.stream(root, name, step)).tolist())
        for root in roots
        for name in ("dropout", "latents")
        for step in (None, 0, 1)
    ]
    assert len(set(keys)) == len(keys)
    inside = jax.jit(lambda step: rngs.stream(roots[0], "dropout", step))(1)
    assert tuple(jax.random.key_data(inside).tolist()) == keys[2]


def test_the_hash_is_the_same_in_every_process():
    script = "from hyperlab.train import rngs; print(rngs.stable_hash('latents'))"
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
        assert int(done.stdout) == rngs.stable_hash("latents")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_sets_the_flag_and_the_handlers_come_back(name, capsys):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with StopFlag() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested and stop.reason == name
    assert signal.getsignal(number) is before
    assert name in capsys.readouterr().err


def test_the_second_interrupt_ends_at_once():
    with StopFlag():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def shown_by(updates, **options):
    file, clock = io.StringIO(), Clock()
    with Progress(100, "train", file=file, live=False, clock=clock, **options) as progress:
        for seconds, done in updates:
            if isinstance(done, str):
                with progress.pause(done):
                    clock.now += seconds
            else:
                clock.now += seconds
                progress.update(done)
    return file.getvalue().splitlines()


def test_compilation_and_pauses_do_not_count_for_the_rate():
    lines = shown_by([(30, 10), (5, 20), (100, "evaluation"), (5, 30)], interval=0)
    assert "first after 30 s" in lines[0]
    assert "2 steps/s, 40 s left" in lines[1]
    assert "2 steps/s, 35 s left" in lines[2]
    assert "evaluation 1:40 min" in lines[-1]


def test_plain_lines_come_at_most_once_an_interval():
    lines = shown_by([(1, done) for done in range(1, 101)], interval=10)
    assert len(lines) == 11


def test_a_bar_in_a_terminal_and_a_closed_pipe_do_no_harm():
    file = io.StringIO()
    with Progress(3, "train", file=file, live=True) as progress:
        progress.update(1, loss=0.5)
    assert "train" in file.getvalue()

    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with Progress(3, "train", file=Closed(), live=False, interval=0) as progress:
        progress.update(1)
