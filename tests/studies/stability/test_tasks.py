"""The tasks of the stability study: what a task draws, what it scores, and that each trains as a stack of runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stability_units

from experiments import registration as registration_study
from experiments import stability as study
from hyperlab import registration as pairs
from hyperlab.data.splits import Split, Splits
from hyperlab.errors import ConfigError
from hyperlab.metrics.defined import mean_defined, mean_dice
from hyperlab.models import MLP
from hyperlab.nn import level_sizes
from hyperlab.registration.measurements import by_subject
from hyperlab.registration.model import loss_function
from hyperlab.studies.rescaling.programs import pooled
from hyperlab.studies.stability import ARMS, Cell, networks, tasks
from hyperlab.studies.stability.arms import Setting
from hyperlab.studies.stability.study import Stability
from hyperlab.studies.stability.tasks.registration import Registration
from hyperlab.studies.stability.tasks.rescaling import Rescaling
from hyperlab.train.phases import TUNE

SEEDS = np.array([0, 7], np.uint32)
FACTOR = {"task": "rescaling", "gamma.high": 0.5, "rescaling.widths": (2, 2), "batch_size": 3}
WEIGHT = {
    "task": "registration",
    "batch_size": 3,
    "registration.network.encoder": (2,),
    "registration.network.decoder": (2,),
    "registration.network.integration_steps": 2,
}


@functools.cache
def images():
    random = np.random.default_rng(0)

    def part(start, count):
        labels = random.integers(0, 3, (count, 8, 6)).astype(np.int32)
        noise = random.uniform(0, 0.3, labels.shape)
        index = np.arange(start, start + count, dtype=np.int32)
        groups = index // 2  # two images of each subject
        return Split((labels / 3 + noise)[..., None].astype(np.float32), labels, groups, index)

    return Splits("tiny", part(0, 10), part(100, 6), part(200, 8), ("background", "a", "b"), "fingerprint")


@functools.cache
def warps():
    settings = study.get_config().registration.data
    settings.update({"size": (8, 6), "subjects": 6, "warps_per_image": 1})
    return pairs.load(settings)


def rescaling(**changes):
    return Rescaling(stability_units.config(**FACTOR, **changes), images())


def registration(**changes):
    return Registration(stability_units.config(**WEIGHT, **changes), warps())


# -- gammas, and what goes with them ------------------------------------------------------------------------------


@pytest.mark.fast
@pytest.mark.parametrize("make", [rescaling, registration])
def test_gammas_are_a_function_of_seed_and_step_alone_and_in_range(make):
    task = make()
    whole, later = (task.draw(SEEDS, steps, False) for steps in (range(40), range(30, 40)))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:, 30:], b), whole, later)
    assert whole.values.shape == (2, 40, 1) and (whole.values[0] != whole.values[1]).any()
    low, high = task.gamma_range
    for gammas in (whole.values, task.fixed().values, task.grid(21).values):
        assert gammas.dtype == np.float32 and low <= gammas.min() and gammas.max() <= high
    assert task.grid(21).values.shape == (21, 1) and len(task.fixed().values) == task.config.samples


@pytest.mark.fast
def test_the_sizes_of_levels_go_with_their_factor_and_fit_the_only_canvas():
    task = rescaling()
    for gammas in (task.draw(SEEDS, range(40), False), task.fixed(), task.grid(21)):
        factors, sizes = gammas.values.ravel(), gammas.aux_inputs.reshape(-1, 2, 2)
        assert (factors > 0).all()
        for factor, size in zip(factors, sizes, strict=True):
            assert size.tolist() == [list(axis) for axis in level_sizes((8, 6), float(factor), 2)]
        assert (sizes <= np.array(task.options["canvases"])).all()


def test_a_factor_reaches_every_hypernetwork_between_0_and_1():
    x = jnp.ones((1, 2, 2, 1))
    variant = ARMS["default"].variants()[0]
    build = functools.partial(networks.build, variant, MLP((3,), 2), x, hidden=(4,))
    standardized, unit = build(gamma_range=(0.0, 0.5), standardized=True), build(gamma_range=(0.0, 1.0))
    variables = jax.jit(unit.init)(jax.random.key(0))
    ours, plain = standardized.delta(variables, jnp.array([0.2])), unit.delta(variables, jnp.array([0.4]))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), ours, plain)


# -- scores, against slow versions --------------------------------------------------------------------------------


def test_dice_at_traced_sizes_is_that_of_the_exact_network_pooled_by_subject():
    task = rescaling(samples=2)
    held_out, fixed, split = task.held_out("test", 8), task.fixed(), images().test

    @jax.jit
    def both(key, aux_inputs):
        variables = task.primary.init(key, *task.example)

        def one(sizes):
            inputs = task.inputs(held_out, sizes)
            return task.predict(task.primary.apply(variables, *inputs, **task.options), held_out)

        exact = [level_sizes((8, 6), float(factor), 2) for factor in fixed.values[:, 0]]
        plain = [task.predict(task.primary.apply(variables, held_out.images, sizes), held_out) for sizes in exact]
        given = jax.lax.map(one, aux_inputs)
        return task.score(given, held_out), task.final(given, held_out), plain

    score, final, plain = both(jax.random.key(0), fixed.aux_inputs)
    expected = []
    for counts in plain:
        right, extra, missed, _ = (np.array(column, float) for column in pooled(counts, split.groups))
        expected.append(mean_dice(2 * right / (2 * right + extra + missed)))
    assert float(score) == pytest.approx(np.mean(expected), abs=1e-6)
    assert [float(value) for value in final.values()] == pytest.approx(expected, abs=1e-6)


def test_the_loss_and_the_dice_of_registrations_are_those_of_the_registration_study():
    task, rows, part = registration(), np.array([4, 0, 2]), warps().train
    held_out = task.held_out("test", task.sizes["test"])
    theirs = loss_function(task.primary, None, task.criterion)

    @jax.jit
    def everything(key, gamma):
        variables = jax.tree.map(lambda leaf: leaf + 0.1, task.primary.init(key, *task.example))
        batch = task.take(task.train(), rows)
        loss = task.loss(task.primary.apply(variables, *task.inputs(batch, ())), batch, gamma)
        expected, _ = theirs(variables["params"], {}, batch | {"weight": gamma[0]}, {})
        outputs = task.primary.apply(variables, *task.inputs(held_out, ()))
        predictions = jax.tree.map(lambda x: x[None], task.predict(outputs, held_out))
        return batch, (loss, expected), predictions, task.score(predictions, held_out)

    batch, (loss, expected), predictions, score = everything(jax.random.key(0), jnp.array([0.3]))
    np.testing.assert_array_equal(batch["moving"], part.moving(rows))
    np.testing.assert_array_equal(batch["fixed"], part.fixed(rows))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    table = by_subject(jax.device_get(predictions), np.asarray(held_out["subjects"]))
    assert float(score) == pytest.approx(mean_defined(mean_defined(table["dice"][0], 0)), abs=1e-6)


# -- training -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [rescaling, registration])
def test_a_stack_is_its_runs_and_a_run_that_blew_up_scores_nothing(make, tmp_path):
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    task = make(samples=2)

    def trained(folder, size):
        here = stability_units.study(folder, lambda config: task, batch_size=3, samples=2, runs_per_program=size)
        return here.train(Cell("sgd", "mip"), Setting("fan_out", (0.01, 1e30)), (0,), TUNE)

    one, two = trained(tmp_path / "one", 1), trained(tmp_path / "two", 2)
    assert one.keys() == two.keys() and "final/score_without_delta" in one
    assert one["curve/score"].shape == (2, 5) and one["final/finite"].tolist() == [1, 0]
    assert one["final/score"][1] == one["curve/score"][1, -1] == 0
    for key in one:  # of the run that stayed finite
        np.testing.assert_allclose(one[key][0], two[key][0], rtol=5e-3, atol=5e-4, err_msg=key)


def test_without_a_hypernetwork_one_set_of_weights_meets_every_gamma(tmp_path):
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    cell, setting = Cell("sgd", "plain"), Setting("own", (0.03,))
    here = stability_units.study(tmp_path / "one", lambda config: rescaling(), batch_size=3)
    factors = here.train(cell, setting, (0,), TUNE)
    at_each = [float(value[0]) for key, value in factors.items() if key.startswith("final/dice_at_")]
    assert len(at_each) == 3 and factors["final/score"][0] == pytest.approx(np.mean(at_each), abs=1e-6)
    here = stability_units.study(tmp_path / "two", lambda config: registration(), batch_size=3)
    weights = here.train(cell, setting, (0,), TUNE)
    assert len({float(value[0]) for key, value in weights.items() if key.startswith("final/dice_at_")}) == 1


def test_a_weight_for_each_pair_is_a_network_for_each_pair(tmp_path):
    here = stability_units.study(tmp_path, lambda config: registration(), batch_size=3)
    result = here.train(Cell("sgd", "per_sample"), Setting("fan_out", (0.01,)), (0,), TUNE)
    assert np.isfinite(result["curve/loss"]).all() and result["final/finite"].tolist() == [1]


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "rescalling"}, "task is 'rescalling'.*'rescaling'"),
        ({"task": "rescaling", "gamma.dim": 2}, "one uniform number"),
        ({"task": "rescaling", "gamma.high": 1.5}, "in \\(0, 1\\]"),
        ({"task": "rescaling", "rescaling.data.name": "digits", "rescaling.data.size": ()}, "one class an image"),
        ({"task": "rescaling", "arms": ("default", "batch_norm"), "contrasts": ()}, "'batch_norm' has one gamma per"),
        ({"task": "registration", "gamma.high": 0.5}, "from 0 to 1"),
        ({"task": "registration", "gamma.prior": "normal"}, "from 0 to 1"),
        ({"data.name": "shapes"}, "a class a pixel"),
        ({"primary.kind": "cnn"}, "primary.kind"),
        ({"gamma.prior": "gauss"}, "gamma.prior"),
    ],
)
def test_a_config_that_a_task_cannot_use_is_refused(changes, message):
    small = {"rescaling.data.count": 20, "registration.data.subjects": 4, "train_length": "8 steps"}
    with pytest.raises(ConfigError, match=message):
        Stability.load(stability_units.config(**{**small, **changes}))


@pytest.mark.fast
def test_the_keys_of_the_registration_task_are_those_of_its_study():
    ours, theirs = study.get_config().registration, registration_study.get_config()
    for block in ("data", "network", "loss"):
        assert set(ours[block]) == set(theirs[block])


@pytest.mark.fast
@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_report_can_speak_of_every_task(name):
    changes = {"task": name, "rescaling.data.count": 20, "registration.data.subjects": 4}
    wording = tasks.load(stability_units.config(**changes)).wording
    assert wording.score in ("accuracy", "Dice") and len(wording.limits) >= 1
    assert not wording.setting.endswith(".") and all(sentence.endswith(".") for sentence in wording.limits)
