"""What all pages say of how a run came about."""

import json

import pytest
import run_folders

from hyperlab.report import sections

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(("config", "said"), [({}, 0), ({"precision": "float32"}, 0), ({"precision": "bfloat16"}, 1)])
def test_a_precision_that_is_not_the_usual_one_is_said(tmp_path, config, said):
    run = run_folders.write_run(tmp_path / "run", results=False)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "config": config}))
    assert sections.reproduce(run).count("networks computed in bfloat16") == said
