"""All runs under a folder as one table."""

import importlib
import shutil

import numpy as np
import pandas as pd
import pytest
from run_folders import table, write_run

import hyperlab as hl
from hyperlab.errors import ConfigError, DataError
from hyperlab.results import results, runs
from hyperlab.train.run_folder import RunFolder

pytestmark = pytest.mark.fast


@pytest.fixture
def root(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "grid" / "gamma=1", table(("mip",)), config={"gamma": {"dim": 1}})
    write_run(tmp_path / "grid" / "gamma=4", table(("mip",), seeds=(100,)), config={"gamma": {"dim": 4}})
    return tmp_path


def statuses(root):
    frame = runs(root)
    return dict(zip(frame["run"], frame["status"], strict=True))


def test_a_row_for_each_run_seed_arm_and_metric_with_where_it_comes_from(root):
    frame = results(root)
    assert frame.groupby("run", observed=True).size().to_dict() == {"a": 6, "grid/gamma=1": 3, "grid/gamma=4": 1}
    first = frame.iloc[0]
    assert first[["run", "study", "name", "status", "digest", "git", "version", "jax", "device"]].tolist() == [
        "a", "stability", "a", "finished", "73cbe3e26c00f24f", "0123456789", "0.1.0", "0.10.2", "cpu",
    ]  # fmt: skip
    assert (first["fingerprint"], first["seconds"], bool(first["dirty"])) == ("digits=of digits", 90.0, False)
    assert first["started"] == pd.Timestamp("2026-11-25T04:00:00Z")
    written = pd.concat([table(), table(("mip",)), table(("mip",), seeds=(100,))])
    pd.testing.assert_frame_equal(
        frame[["arm", "seed", "value"]].astype({"arm": object}).reset_index(drop=True),
        written[["arm", "seed", "value"]].astype({"arm": object, "seed": float}).reset_index(drop=True),
    )


def test_one_row_for_each_run(root):
    frame = runs(root)
    assert frame["run"].tolist() == ["a", "grid/gamma=1", "grid/gamma=4"] and frame["rows"].tolist() == [6, 3, 1]


def test_keys_of_configs_become_columns(root):
    frame = results(root, config="varied")
    assert [name for name in frame.columns if name.startswith("config.")] == ["config.gamma.dim"]
    assert frame.groupby("run", observed=True)["config.gamma.dim"].first().tolist()[1:] == [1.0, 4.0]
    assert runs(root, config=["arms"])["config.arms"].tolist() == ["('mip', 'plain')"] * 3
    with pytest.raises(ConfigError, match=r"'gama.dim'; did you mean 'gamma.dim'"):
        results(root, config=["gama.dim"])


def test_a_folder_that_is_itself_a_run(tmp_path):
    frame = results(write_run(tmp_path / "only"))
    assert set(frame["run"]) == {"."} and set(frame["name"]) == {"only"}


def test_tables_of_measures_become_tidy_and_columns_of_others_stay_empty(tmp_path):
    wide = pd.DataFrame({"arm": ["tyche"], "seed": [100], "task": ["cells"], "ged": [0.4], "best": [0.8]})
    write_run(tmp_path / "wide", wide, study="stochastic")
    write_run(tmp_path / "long", table(compression=4.0), study="pruning")
    frame = results(tmp_path)
    found = frame[frame["study"] == "stochastic"]
    assert found[["task", "metric", "value"]].values.tolist() == [["cells", "ged", 0.4], ["cells", "best", 0.8]]
    assert found["compression"].isna().all() and frame.loc[frame["study"] == "pruning", "task"].isna().all()


def test_numbers_beside_text_and_booleans(tmp_path):
    write_run(tmp_path / "a", table(trained_at=0.25, finite=True))
    write_run(tmp_path / "b", table(trained_at="prior", finite=False))
    frame = results(tmp_path)
    assert list(frame["trained_at"].unique()) == ["0.25", "prior"] and list(frame["finite"].unique()) == [1.0, 0.0]


def test_a_column_with_a_name_of_provenance_keeps_its_values(tmp_path):
    frame = results(write_run(tmp_path / "a", table(status="odd")))
    assert set(frame["status"]) == {"finished"} and set(frame["result_status"]) == {"odd"}


# -- what is not as it should be -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("run.json", '{"starts": [', "run.json is no JSON"),
        ("run.json", '{"starts": []}', "IndexError"),
        ("run.json", "[]", "run.json holds a list"),
        ("run.json", '{"starts": [{"started": "yesterday", "ended": "today"}]}', "today"),
        ("config.json", None, "config.json is missing"),
        ("config.json", "{}", "study"),
        ("config.json", "\xff\xfe", "config.json is no JSON"),
        ("results.csv", None, "it finished, but results.csv is missing"),
        ("results.csv", "", "results.csv: EmptyDataError"),
        ("results.csv", 'arm,metric,value\na,"b', "results.csv: ParserError"),
        ("results.csv", "arm,metric,value\na,b,much\n", "results.csv: the column value holds text"),
        ("results.csv", "x,y\n1,2\n", "results.csv: columns x, y; expected metric and value"),
    ],
)
def test_a_broken_folder_is_a_row_that_says_so(tmp_path, file, content, reason):
    write_run(tmp_path / "sound")
    broken = write_run(tmp_path / "broken")
    (broken / file).unlink()
    if content is not None:
        (broken / file).write_text(content)
    frame = results(tmp_path)
    row = frame[frame["run"] == "broken"]
    assert len(row) == 1 and row["status"].item() == "broken" and reason in row["error"].item()
    assert np.isnan(row["value"].item()) and (frame["run"] == "sound").sum() == 6


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    write_run(tmp_path / "a")
    real = pd.read_csv

    def refused(path, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(pd, "read_csv", refused)
    assert "Permission" in runs(tmp_path)["error"].item()
    monkeypatch.setattr(pd, "read_csv", real)


def test_runs_that_did_not_finish(tmp_path):
    write_run(tmp_path / "killed", False, exit_reason=None)
    write_run(tmp_path / "signal", False, exit_reason="stopped: SIGTERM")
    write_run(tmp_path / "error", False, exit_reason="failed: ValueError: no")
    (write_run(tmp_path / "never", False) / "run.json").unlink()
    assert statuses(tmp_path) == {"error": "failed", "killed": "stopped", "never": "stopped", "signal": "stopped"}
    assert runs(tmp_path)["error"].tolist() == [
        "ValueError: no", "it ended without a word", "it never started", "SIGTERM",
    ]  # fmt: skip


def test_a_run_that_runs_is_seen_to_end(tmp_path):
    folder = RunFolder.open(tmp_path / "now", {"study": "stability"})
    try:
        assert runs(tmp_path)["status"].item() == "running"
    finally:
        folder.finish("stopped: SIGTERM")
    assert runs(tmp_path)["status"].item() == "stopped"


def test_other_folders_are_no_runs(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"layers": 3}')
    table().to_csv(tmp_path / "results.csv")
    assert runs(tmp_path).empty and list(results(tmp_path).columns[:2]) == ["run", "study"]
    write_run(write_run(tmp_path / "a") / "units" / "b")  # what a study keeps for itself
    write_run(tmp_path / "a" / "c")
    assert runs(tmp_path)["run"].tolist() == ["a", "a/c"]
    with pytest.raises(DataError, match="is no folder"):
        results(tmp_path / "nowhere")


# -- what changes between two readings -------------------------------------------------------------------------------


def test_new_changed_and_deleted_runs_are_seen(root):
    results(root)
    write_run(root / "b", table(("new",), extra="yes", seeds=(0.1 + 0.2,), trained_at="prior"))
    write_run(root / "c", table(("c",), trained_at=0.1 + 0.2))
    assert set(results(root)["arm"]) == {"mip", "plain", "new", "c"}
    write_run(root / "a", table(("changed",)))
    shutil.rmtree(root / "grid" / "gamma=1")
    frame = results(root)
    assert list(frame["run"].unique()) == ["a", "b", "c", "grid/gamma=4"] and "plain" not in set(frame["arm"])
    shutil.rmtree(root / "b")
    assert results(root)["trained_at"].max() == 0.1 + 0.2, "a number again, and to the last digit"
    shutil.rmtree(root / "c")
    write_run(root / "0", False, exit_reason=None)
    assert results(root)["run"].tolist() == ["0", *["a"] * 3, "grid/gamma=4"]


def test_reading_leaves_nothing_behind_and_the_old_option_says_that_it_is_without_use(root):
    before = sorted(root.rglob("*"))
    frame = results(root)
    assert sorted(root.rglob("*")) == before
    for read in (results, runs):
        with pytest.warns(FutureWarning, match="cache= is without use") as caught:
            found = read(root, cache=False)
        assert caught[0].filename == __file__
    assert len(found) == 3 and len(frame) == 10


def test_the_function_is_there_whatever_was_imported(root):
    importlib.import_module("hyperlab.results.loading")
    assert len(hl.results(root)) == 10
