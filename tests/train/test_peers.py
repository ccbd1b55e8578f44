"""Processes that share a run folder: who does what, who waits, and what becomes of the others when one is gone.

Peers of one run may be threads of a test: they know one another through the folder alone.
"""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hyperlab.errors import DistributedError
from hyperlab.train import peers as peers_module
from hyperlab.train.peers import Peers
from hyperlab.train.signals import StopFlag

pytestmark = pytest.mark.fast


@pytest.fixture
def two(tmp_path):
    made = [Peers(index, 2, tmp_path / "run" / "token", StopFlag()) for index in range(2)]
    for one in made:
        one.begin()
    yield made
    threads = [threading.Thread(target=one.leave) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)


def in_thread(function):
    done = []
    thread = threading.Thread(target=lambda: done.append(function()), daemon=True)
    thread.start()
    return thread, done


def stops(peers):
    return peers._stop


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_items_are_dealt_out_to_one_each(two):
    assert [one.share(range(5)) for one in two] == [[0, 2, 4], [1, 3]]
    assert [one.is_main for one in two] == [True, False]


def test_the_first_waits_for_the_last(two):
    thread, met = in_thread(two[0].meet)
    time.sleep(0.3)
    assert not met
    assert two[1].meet()
    thread.join(10)
    assert met == [True]


def test_process_0_goes_first(two):
    order = []

    def follow():
        with two[1].main_first():
            order.append(1)

    thread, _ = in_thread(follow)
    time.sleep(0.2)
    with two[0].main_first():
        order.append(0)
    thread.join(10)
    assert order == [0, 1]


def test_one_process_at_a_time_has_a_name(two):
    inside = []

    def claim(one):
        with one.claimed("unit.npz") as mine:
            inside.append((one.index, mine, "in"))
            time.sleep(0.2)
            inside.append((one.index, mine, "out"))

    threads = [in_thread(lambda one=one: claim(one))[0] for one in two]
    for thread in threads:
        thread.join(10)
    assert [state for _, _, state in inside] == ["in", "out", "in", "out"]
    assert inside[0][0] == inside[1][0] and all(mine for _, mine, _ in inside)


def test_a_stop_of_one_is_a_stop_of_all_and_nobody_waits_on(two):
    thread, met = in_thread(two[0].meet)
    stops(two[1]).request("SIGTERM")
    thread.join(10)
    assert met == [False]
    assert stops(two[0]).reason == "SIGTERM"


def test_what_all_did_comes_together_on_process_0(two):
    thread, _ = in_thread(lambda: two[1].gathered({"steps": 2}))
    assert two[0].gathered({"steps": 1}) == [{"steps": 1}, {"steps": 2}]
    thread.join(10)


def test_a_failure_ends_the_others_with_its_words(two):
    two[1].leave("DataError: row 3 cannot be read")
    until(lambda: two[0].lost)
    assert stops(two[0]).requested  # trainings in work are saved
    with pytest.raises(DistributedError, match=r"process 1 of 2 failed: DataError: row 3 .* go on from there"):
        two[0].check()


def test_an_orderly_end_of_one_is_no_loss(two):
    two[1].leave()
    time.sleep(1)
    assert two[0].lost is None


PEER = """
import sys, time
from pathlib import Path
from hyperlab.train.peers import Peers
from hyperlab.train.signals import StopFlag
Peers(1, 2, Path(sys.argv[1]), StopFlag()).begin()
print("begun", flush=True)
time.sleep(60)
"""


def test_a_process_that_is_killed_is_named(tmp_path):
    folder = tmp_path / "run" / "token"
    main = Peers(0, 2, folder, StopFlag())
    environment = {**os.environ, "PYTHONPATH": str(Path(peers_module.__file__).parents[2])}
    child = subprocess.Popen([sys.executable, "-c", PEER, str(folder)], stdout=subprocess.PIPE, env=environment)
    try:
        assert child.stdout.readline() == b"begun\n"
        main.begin()
        child.kill()
        child.wait()
        until(lambda: main.lost)
        with pytest.raises(DistributedError, match="process 1 of 2 ended without a word"):
            main.meet()
    finally:
        child.kill()
        child.stdout.close()
        main.leave("the test")
