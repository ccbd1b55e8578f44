import numpy as np
import pytest

from hyperlab.data.published import curves, packaged
from hyperlab.errors import ConfigError
from hyperlab.report import overlay
from hyperlab.report.figures import COLOURS, grid, save


def test_curves_lie_behind_ones_own_with_a_legend_that_warns(tmp_path):
    figure, (axes,) = grid()
    (own,) = axes.plot([1, 2], [0, -1], label="mine")
    published = curves(packaged(), "ImageNet", "ResNet-18")
    lines = overlay.draw(axes, published)
    axes.legend()
    assert all(line.get_zorder() < own.get_zorder() and line.get_alpha() < 0.5 for line in lines)
    assert axes.get_legend_handles_labels()[1] == ["mine"]
    (legend,) = [child for child in axes.artists if hasattr(child, "get_texts")]
    assert legend.get_title().get_text() == overlay.WARNING
    assert [text.get_text() for text in legend.get_texts()] == [curve.label for curve in published]
    assert all("Gonzalez Ortiz 2019" in curve.label for curve in published)
    assert save(figure, tmp_path / "figure.png").stat().st_size > 0


def test_lines_end_where_the_measurements_do_in_the_asked_unit():
    _, (axes,) = grid()
    published = curves(packaged(), "CIFAR-10", "CIFAR-VGG")
    for line, curve in zip(overlay.draw(axes, published, unit=1.0, legend=False), published, strict=True):
        np.testing.assert_allclose(line.get_xdata(), curve.x)
        np.testing.assert_allclose(line.get_ydata(), curve.change)
    assert not axes.artists


def test_a_colour_is_a_year_and_a_marker_a_curve():
    _, (axes,) = grid()
    first, second, *_ = curves(packaged(), "ImageNet", "ResNet-18")
    lines = overlay.draw(axes, [first, second, first._replace(year=2031.0), first._replace(year=float("nan"))])
    assert [line.get_color() for line in lines] == [COLOURS[0], COLOURS[0], COLOURS[1], "#555555"]
    assert len({line.get_marker() for line in lines}) == 4


def test_axes_are_not_mixed():
    _, (axes,) = grid()
    mixed = [curves(packaged(), "ImageNet", "ResNet-18", against=x)[0] for x in ("compression", "speedup")]
    with pytest.raises(ConfigError, match="compression and speedup in one panel"):
        overlay.draw(axes, mixed)
