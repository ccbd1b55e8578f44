"""Pictures of results across runs."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from run_folders import table

from hyperlab.errors import ConfigError
from hyperlab.results import compare, front, spread
from hyperlab.results import figures as draw


def drawn(path):
    """A PNG with something on it, and a PDF beside it."""
    with Image.open(path) as image:
        assert image.width > 300 and len(np.unique(np.asarray(image.convert("L")))) > 10
    return path.with_suffix(".pdf").exists()


def test_spread_contrasts_and_front_are_drawn_and_described(tmp_path):
    frame = table(("mip", "plain", "default"), compression=2.0)
    found = spread(frame, ("arm", "compression"))
    path, text = draw.spread(tmp_path / "spread.png", found, ("arm", "compression"), "accuracy")
    assert drawn(path) and text == "accuracy: median, mean and range over seeds, for each arm, compression."
    path, text = draw.contrasts(tmp_path / "c.png", compare(frame, "accuracy", "mip", ["plain", "default"]), "accuracy")
    assert drawn(path) and text.startswith("accuracy: the difference of every seed")
    points = pd.DataFrame({"arm": ["a", "b", "c"], "macs": [1.0, 2.0, np.nan], "dice": [0.8, 0.7, 0.9]})
    path, text = draw.front(tmp_path / "front.png", front(points, "macs", "dice"))
    assert drawn(path) and text == "dice against macs; 1 points of 2 are best. 1 cannot be placed."
    assert drawn(draw.front(tmp_path / "all.png", front(points.drop(columns="arm"), "macs", "dice"))[0])


@pytest.mark.parametrize("count", [0, draw.MOST_ROWS + 1])
def test_what_no_figure_can_hold_is_refused(tmp_path, count):
    found = pd.DataFrame({"arm": range(count), "median": 0.0})
    with pytest.raises(ConfigError, match=f"{count} groups, expected 1 to {draw.MOST_ROWS}"):
        draw.spread(tmp_path / "spread.png", found, ("arm",), "accuracy")
    assert not list(tmp_path.iterdir())
