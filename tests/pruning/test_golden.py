"""Masks, fractions and sizes of the reference implementation, exactly; these numbers change for no reason."""

from pathlib import Path

import numpy as np
import pytest

from hyperlab import pruning, trees

pytestmark = pytest.mark.fast
GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "pruning_small.npz"))
NAMES = {
    "global_magnitude": "GlobalMagWeight",
    "layer_magnitude": "LayerMagWeight",
    "global_gradient": "GlobalMagGrad",
    "layer_gradient": "LayerMagGrad",
}
CLASSIFIER = ["fc2/**"]


def ours(prefix):
    """The reference's arrays under a prefix in our layout: kernels HWIO and (in, out)."""
    leaves = {}
    for key, array in GOLDEN.items():
        if key.startswith(prefix):
            layer, kind = key.removeprefix(prefix).split(".")
            axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim]
            leaves[f"{layer}/{'kernel' if kind == 'weight' else 'bias'}"] = array.transpose(axes)
    return leaves


PARAMS, GRADS = trees.nest(ours("param/")), trees.nest(ours("grad/"))


@pytest.mark.parametrize("rule", ["exact", "shrinkbench"])
@pytest.mark.parametrize("compression", [1, 2, 4])
@pytest.mark.parametrize("strategy", NAMES)
def test_masks_and_sizes_are_those_of_the_reference(strategy, compression, rule):
    masks = pruning.masks(
        strategy,
        PARAMS,
        compression=float(compression),
        prunable=["**/kernel", "**/bias"],
        exclude=CLASSIFIER,
        grads=GRADS,
        rule=rule,
    )
    flat = trees.flatten(masks)
    expected = ours(f"mask/{NAMES[strategy]}/{compression}/")
    assert len(expected) == 6
    for path, mask in expected.items():
        np.testing.assert_array_equal(flat[path], mask.astype(bool), err_msg=path)
    assert flat["fc2/kernel"].all() and flat["fc2/bias"].all()
    size, kept = GOLDEN[f"metrics/{NAMES[strategy]}/{compression}"][:2]
    assert (trees.count(masks), sum(pruning.available(masks).values())) == (size, kept)


@pytest.mark.parametrize("compression", [1, 2, 4])
def test_fractions_are_those_of_the_reference(compression):
    fraction = pruning.kept_fraction(PARAMS, compression, exclude=CLASSIFIER)
    np.testing.assert_allclose(fraction, GOLDEN[f"fraction/{compression}"], atol=1e-12)
    np.testing.assert_allclose(pruning.compression_of(PARAMS, fraction, exclude=CLASSIFIER), compression)
