"""Rows: names that a file system takes, no two alike, and a table that says what is on disk."""

import json
import os

import ml_collections
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperlab.errors import ConfigError
from hyperlab.sweep import apply, name_of, rows, table
from hyperlab.train.run_folder import RunFolder

pytestmark = pytest.mark.fast

CONFIG = ml_collections.ConfigDict({"study": "toy", "seed": 0, "net": {"widths": (8, 8), "name": "mlp"}, "rate": 0.1})
TEXTS = st.text("ab/\\ .é\n\0'\"$*?~:;&|<>()", max_size=40)
OVERRIDES = st.dictionaries(st.sampled_from(["seed", "net.name", "rate"]), TEXTS | st.floats() | st.integers())


@given(OVERRIDES)
def test_a_name_is_one_safe_short_part_of_a_path(overrides):
    name = name_of(overrides)
    assert 0 < len(name) <= rows.LONGEST and name.isascii() and name not in (".", "..")
    assert not set(name) & set("/\\ \n\0'\"$*?~:;&|<>()")


def test_a_long_name_is_shortened_and_tells_rows_apart():
    first, second = ({"net.name": "a" * 200 + end} for end in "xy")
    assert name_of(first) != name_of(second) and name_of(first)[:100] == name_of(second)[:100]


def test_rows_that_would_share_a_folder_are_refused():
    with pytest.raises(ConfigError, match=r"rows 1 and 2 .* share the folder 'net.name=a_b'"):
        table(CONFIG, [{}, {"net.name": "a b"}, {"net.name": "a/b"}])


def test_a_wrong_key_or_value_is_refused_before_anything_runs():
    with pytest.raises(ConfigError, match="net.widths"):
        table(CONFIG, [{}, {"net.width": (1,)}])
    with pytest.raises(ConfigError, match="seed"):
        table(CONFIG, [{"seed": "many"}])
    with pytest.raises(ConfigError, match="no rows"):
        table(CONFIG, [])


def test_a_row_changes_its_own_config_alone():
    found = table(CONFIG, [{}, {"net.widths": (4,), "rate": 1}])
    assert (found[1].config.net.widths, found[1].config.rate) == ((4,), 1.0)
    assert found[0].config == CONFIG == apply(CONFIG, {})


def test_the_table_shows_what_is_on_disk(tmp_path):
    found = table(CONFIG, [{}, *({"seed": seed} for seed in range(1, 7))])
    reasons = {1: "finished", 2: "stopped: SIGTERM", 3: "failed: DataError: no images"}
    for index, reason in reasons.items():
        RunFolder.open(tmp_path / found[index].name, found[index].config).finish(reason)
    running = RunFolder.open(tmp_path / found[4].name, found[4].config)
    killed = tmp_path / found[5].name
    RunFolder.open(killed, found[5].config).finish("finished")
    record = json.loads((killed / "run.json").read_text())
    del record["starts"][-1]["exit_reason"]
    (killed / "run.json").write_text(json.dumps(record))
    RunFolder.open(tmp_path / found[6].name, CONFIG).finish("finished")
    lines = rows.shown(found, tmp_path).splitlines()[1:]
    states = ["new", "finished", "stopped", "failed", "running", "stale", "changed"]
    assert [line.split()[:3] for line in lines] == [
        [str(row.index), state, row.name] for row, state in zip(found, states, strict=True)
    ]
    assert lines[3].endswith("seed=3  # DataError: no images") and lines[6].endswith("# seed is 0 there and 6 here")
    running.finish("finished")
    assert rows.shown(found, tmp_path).splitlines()[5].split()[1] == "finished"
    assert {line.split()[1] for line in rows.shown(found, None).splitlines()[1:]} == {"new"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"starts": []}', '{"starts": 3}'])
def test_a_broken_record_is_a_failed_row_and_no_crash(tmp_path, content):
    (row,) = table(CONFIG, [{}])
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "run.json").write_text(content)
    state = row.state(tmp_path)
    assert state.name == "failed" and "cannot be read" in state.detail and "\n" not in state.detail
    assert os.listdir(tmp_path / "default") == ["run.json"]
