"""Families of ambiguous shapes: stored tasks, their truth from the recipe, support sets, and what is held out."""

import shutil

import numpy as np
import pytest

from hyperlab.data.in_context import TaskStore, choose
from hyperlab.errors import ConfigError
from hyperlab.in_context import embedded
from hyperlab.studies.stochastic import annotated, families
from hyperlab.studies.stochastic.families import HALO, LOBE, Family

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(families, "_COUNT", 10)
        patch.setattr(families, "_TEMPLATES", 1)
        patch.setattr(embedded, "_SUBJECTS", 4)
        return TaskStore(families.embedded(tmp_path_factory.mktemp("tasks"), 32, 0))


@pytest.mark.slow
def test_a_store_of_an_older_version_is_used_as_it_is_and_a_damaged_one_is_made_again(tmp_path, store):
    copy = shutil.copytree(store.path, tmp_path / "store")
    (copy / ".finished").write_bytes(b"")  # all that older versions noted
    chunk = next(one for one in copy.glob("32/*/*/*/*/images/c/**/*") if one.is_file())
    families.embedded(copy, 32, 0)
    assert (copy / ".finished").read_bytes() == b""
    chunk.write_bytes(chunk.read_bytes()[:10])
    families.embedded(copy, 32, 0)
    assert len(chunk.read_bytes()) > 10 and (copy / ".finished").read_bytes()


@pytest.mark.parametrize("stretch", ["", "flat", "tall"])
@pytest.mark.parametrize(("counted", "modes"), [(HALO, 2), (LOBE, 2), (HALO | LOBE, 4)])
def test_annotations_are_modes_all_different_with_probabilities(stretch, counted, modes):
    made = Family(1, 12, 32, stretch=stretch, counted=counted).make()
    assert made.modes.shape == (12, modes, 32, 32)
    np.testing.assert_allclose(made.probabilities.sum(1), 1, atol=1e-6)
    for image in range(12):
        assert len(np.unique(made.modes[image].reshape(modes, -1), axis=0)) == modes
        np.testing.assert_array_equal(made.annotations[image], made.modes[image, made.chosen[image]])


def test_a_probability_is_that_of_all_modes_that_mean_the_same_mask():
    both, halo = (Family(1, 5, 32, counted=counted).make() for counted in (HALO | LOBE, HALO))
    np.testing.assert_allclose(halo.probabilities[:, 1], both.probabilities[:, [1, 3]].sum(1), atol=1e-6)
    np.testing.assert_array_equal(halo.modes, both.modes[:, :2])


def test_a_stretch_makes_bodies_longer_along_one_axis_and_dark_inverts():
    def extent(axis, stretch):
        bodies = Family(1, 30, 48, stretch=stretch).make().modes[:, 0]
        return np.mean([body.any(1 - axis).sum() for body in bodies])

    assert extent(0, "tall") > 1.3 * extent(1, "tall") and extent(1, "flat") > 1.3 * extent(0, "flat")
    bright, dark = (Family(1, 3, 32, dark=dark).make().images for dark in (False, True))
    np.testing.assert_allclose(bright, 1 - dark, atol=1e-6)
    with pytest.raises(ConfigError, match="'tall'"):
        Family(1, 3, 32, stretch="tal").make()


def test_the_truth_behind_stored_examples_is_made_again_from_their_recipe(store):
    (target,) = annotated.targets_of(store, (families.HELD_OUT,), "test", 7)
    assert len(target.queries) == 7 and len(target.images) == 10 and target.known
    matches = (target.annotations[:, :, None] == target.modes[:, None]).all((3, 4))
    assert matches.any(2).all(), "an annotation that is no mode"
    (plain,) = annotated.targets_of(store, ("synthetic",), "train", 3)[:1]
    assert not plain.known and plain.annotations.shape == (3, 1, 32, 32)


def test_a_support_set_is_a_function_of_the_draw_with_labels_of_different_annotators(store):
    (target,) = annotated.targets_of(store, (families.HELD_OUT,), "test", 3)
    images, labels = target.support(6, 2)
    again = target.support(6, 2)
    np.testing.assert_array_equal(labels, again[1])
    assert not np.array_equal(images, target.support(6, 3)[0])
    annotators = set()
    for image, label in zip(images, labels, strict=True):
        row = int((target.images == image).all((1, 2, 3)).argmax())
        possible = np.flatnonzero((target.labels[row] == label).all((1, 2, 3)))
        assert len(possible)
        annotators.add(tuple(possible))
    assert len(annotators) > 1


def test_no_image_is_both_to_train_on_and_to_judge_on(store):
    hidden = (families.DEVELOPMENT, families.HELD_OUT)
    trained = {digest for task in choose(store, hidden) for digest in task.digests.tolist()}
    judged = {digest for name in store if name.dataset in hidden for digest in store[name].digests.tolist()}
    assert trained and judged and not trained & judged
