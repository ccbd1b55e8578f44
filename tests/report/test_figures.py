"""What figures share: legends that stay inside, an axis on which the best scores have room."""

import numpy as np
import pytest

from hyperlab.report import figures

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("width", [3.0, 7.0, 14.0])
@pytest.mark.parametrize("count", [1, 4, 15])
def test_a_legend_below_stays_inside_the_figure_and_leaves_the_axes_their_room(count, width):
    figure, (axes,) = figures.grid(1, 1, width=width, height=4.0)
    for index in range(count):
        axes.plot([0, 1], [0, index], label=f"an arm with quite a long label {index}")
    figures.legend_below(figure, axes)
    figure.canvas.draw()
    (legend,) = figure.legends
    inside, whole = legend.get_window_extent(), figure.bbox
    assert inside.x0 >= 0 and inside.y0 >= 0 and inside.x1 <= whole.width and inside.y1 <= whole.height
    assert axes.get_window_extent().height > 0.5 * 4.0 * figure.dpi


def test_no_labels_no_legend():
    figure, (axes,) = figures.grid()
    figures.legend_below(figure, axes)
    assert not figure.legends


def test_on_a_stretched_axis_halving_the_distance_to_one_is_a_step():
    _, (axes,) = figures.grid()
    figures.stretch_towards_one(axes)
    to_axis = axes.yaxis.get_transform()
    scores = np.array([0.0, 0.5, 0.75, 0.875])
    steps = np.diff(to_axis.transform(scores))
    np.testing.assert_allclose(steps, steps[0])
    np.testing.assert_allclose(to_axis.inverted().transform(to_axis.transform(scores)), scores)
    assert np.isfinite(to_axis.transform(np.array([1.0, 1.5]))).all()  # a perfect score, and a bar beyond it
