"""Methods and their controls: every study has random and magnitude pruning, also with a method's own shares."""

import pytest

from hyperlab import pruning
from hyperlab.errors import ConfigError
from hyperlab.studies.pruning import METHODS, find, with_controls
from hyperlab.studies.pruning.arms import Method

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("name", METHODS)
def test_every_method_names_a_strategy_and_says_what_it_is(name):
    method = METHODS[name]
    assert method.masks in pruning.STRATEGIES and method.label and method.definition()
    assert method.like in ("", *METHODS)
    assert len({one.label for one in METHODS.values()}) == len(METHODS)


def test_controls_add_themselves_once():
    names = with_controls(["global_gradient", "layer_magnitude", "rewound_magnitude"])
    assert len(set(names)) == len(names)
    assert {"random", "global_magnitude", "layer_magnitude"} < set(names)
    assert {"random~global_gradient", "magnitude~global_gradient", "random~global_magnitude"} < set(names)
    # a layerwise method has no shares of its own, and rewound values have the masks of another method
    assert not any("layer_magnitude" in name and "~" in name for name in names)
    assert not any(name.endswith("~rewound_magnitude") for name in names)
    assert with_controls(names) == names


def test_a_method_that_ranks_by_magnitude_is_its_own_control():
    assert [name for name in with_controls(["lamp"]) if "~lamp" in name] == ["random~lamp"]
    assert "magnitude~channels" in with_controls(["channels"])  # whole channels against entries


def test_methods_at_the_start_have_controls_at_the_start():
    names = with_controls(["synflow", "rigl"])
    assert set(names) == {"synflow", "rigl", "initial_random", "random~synflow", "magnitude~synflow"}
    assert all(find(name).parent == "initial" for name in names)
    assert len({find(name).track for name in (*names, "random")}) == 2


@pytest.mark.parametrize("name", ["global_magnitud", "random~nothing", "snip~global_magnitude"])
def test_an_unknown_method_is_told_the_nearest(name):
    with pytest.raises(ConfigError, match="unknown method"):
        find(name)


def test_a_method_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="values is 'rewind'.*'rewound'"):
        Method("mine", values="rewind")
