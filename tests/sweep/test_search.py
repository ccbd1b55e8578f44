"""A search with Optuna: what it may look at, and that a cut makes no difference."""

import json
import math
from types import SimpleNamespace

import ml_collections
import pytest

from hyperlab import launch
from hyperlab.errors import ConfigError, DataError, WorkdirError
from hyperlab.sweep import Integers, log_uniform, search
from hyperlab.train.run_folder import RunFolder

CONFIG = ml_collections.ConfigDict({"study": "toy", "seed": 0, "rate": 0.1, "width": 4, "kind": "mlp"})
SPACE = {"rate": log_uniform(0.001, 1.0), "width": Integers(1, 64), "kind": ["mlp", "bad", "unet"]}


def stopper(after=math.inf):
    return SimpleNamespace(left=after, requested=False, reason="SIGTERM")


@pytest.fixture
def runs(monkeypatch):
    """Studies that end at once: their score is best near rate 0.1 and width 32, and one kind always fails."""
    pytest.importorskip("optuna", reason="needs the extra 'tune'")
    monkeypatch.setattr(running := search.running, "_forget_programs", lambda: None)
    done = []

    def run(config, workdir, *, stop, allow_config_change):
        folder = RunFolder.open(workdir, config)
        done.append(config)
        stop.left -= 1
        stop.requested = stop.left < 0
        reason = "stopped: SIGTERM" if stop.requested else "failed: bad" if config.kind == "bad" else "finished"
        score = -((math.log10(config.rate) + 1) ** 2) - ((config.width - 32) / 32) ** 2
        rows = [{"split": "a/validation", "score": 0}, {"split": "a/validation", "score": score}]
        rows += [{"split": "a/test", "score": 1e9}]
        folder.metrics_path.write_text("".join(json.dumps({"step": 0} | row) + "\n" for row in rows))
        folder.finish(reason)
        if reason == "failed: bad":
            raise ConfigError("bad")

    monkeypatch.setattr(launch, "run", run)
    assert running.launch is launch
    return done


def test_it_learns_and_a_cut_makes_no_difference(runs, tmp_path):
    score = search.validation_score("score")
    straight = search.search(CONFIG, SPACE, score, tmp_path / "straight", 24, stop=stopper())
    scores = [trial.score for trial in straight]
    assert len(scores) == 24 and all(math.isnan(t.score) == (t.overrides["kind"] == "bad") for t in straight)
    early, late = ([s for s in part if not math.isnan(s)] for part in (scores[:10], scores[14:]))
    assert sorted(late)[len(late) // 2] > sorted(early)[len(early) // 2]
    for after in (5, 14):
        cut = search.search(CONFIG, SPACE, score, tmp_path / "cut", 24, stop=stopper(after))
        assert len(cut) < 24
    before = len(runs)
    again = search.search(CONFIG, SPACE, score, tmp_path / "cut", 24, stop=stopper())
    assert [trial.overrides for trial in again] == [trial.overrides for trial in straight]
    assert len(runs) - before < 24  # what is done is read, not run
    with pytest.raises(ConfigError, match="another search"):
        search.search(CONFIG, SPACE, score, tmp_path / "cut", 24, seed=1, stop=stopper())
    (tmp_path / "cut" / search.FILE).write_text("{")
    with pytest.raises(WorkdirError, match="cannot be read"):
        search.search(CONFIG, SPACE, score, tmp_path / "cut", 24, stop=stopper())


@pytest.mark.fast
def test_the_score_is_of_validation_alone(tmp_path):
    rows = [{"split": "x/100/validation", "dice": 0.2}, {"split": "x/100/validation", "dice": 0.5}]
    rows += [{"split": "x/101/validation", "dice": 0.7}, {"split": "x/100/test", "dice": 1.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"step": 1} | row) + "\n" for row in rows))
    assert search.validation_score("dice")(tmp_path) == pytest.approx(0.6)
    with pytest.raises(DataError, match="no rows of split 'development' with 'dice'"):
        search.validation_score("dice", "development")(tmp_path)
    with pytest.raises(ConfigError, match="got 'test'"):
        search.validation_score("dice", "test")


@pytest.mark.fast
def test_the_score_of_a_study_that_tunes_is_its_best_trial(tmp_path):
    tuned = {"tuning": [{"rate": 0.1, "score": 0.5}, {"rate": 0.3, "score": -math.inf}]}
    nested = {"rates": {"0.1": tuned, "0.3": {"tuning": [{"score": 0.7}]}}, "label": "spatial"}
    (tmp_path / "choices.json").write_text(json.dumps({"mip": tuned, "spatial": nested, "none": {}}))
    assert search.tuning_score("mip")(tmp_path) == 0.5
    assert search.tuning_score("spatial")(tmp_path) == 0.7
    with pytest.raises(DataError, match="no arm 'mop'; did you mean 'mip'"):
        search.tuning_score("mop")(tmp_path)
    with pytest.raises(DataError, match="nothing was tuned"):
        search.tuning_score("none")(tmp_path)
