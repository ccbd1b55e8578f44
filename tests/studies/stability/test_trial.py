"""The study's trainings: what arms share, what stacks change (nothing), and what failures score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stability_units

from experiments import stability
from hyperlab import trees
from hyperlab.data.splits import Split, Splits
from hyperlab.errors import HyperlabError
from hyperlab.hypernet import as_primary, hypernetize, own_start
from hyperlab.hypernet.gradients import loss_and_gradients, omega_norm
from hyperlab.models import MLP
from hyperlab.norms import global_norm
from hyperlab.planning import programs
from hyperlab.studies.stability import ARMS, Cell, networks
from hyperlab.studies.stability.arms import Setting
from hyperlab.studies.stability.study import _architecture
from hyperlab.studies.stability.tasks.classification import Classification
from hyperlab.train.phases import REPORT, TUNE

GAMMA = jnp.array([0.3, 0.8])


def tiny_splits(size=60):
    random = np.random.default_rng(0)

    def part(start, count):
        labels = np.arange(count, dtype=np.int32) % 3
        images = np.clip(random.normal(labels[:, None] / 3, 0.1, (count, 4)), 0, 1)
        index = np.arange(start, start + count, dtype=np.int32)
        return Split(images.astype(np.float32).reshape(count, 2, 2, 1), labels, index, index)

    return Splits("tiny", part(0, size), part(100, 21), part(200, 30), ("a", "b", "c"), "fingerprint")


MIP, COPY = Cell("sgd", "mip"), Cell("sgd", "mip_again")


def study(folder, **changes):
    return stability_units.study(folder, lambda config: Classification(config, tiny_splits()), **changes)


@pytest.mark.parametrize(
    "options",
    [
        {"parametrization": "direct"},
        {"parametrization": "direct", "head_bias": "zeros"},
        {"parametrization": "additive"},
        {"parametrization": "scaled:0.3"},
        {"parametrization": "additive", "head": "low_rank:1"},
        {"parametrization": "additive", "normalization": "output_norm"},
    ],
)
def test_the_norm_of_the_gradient_at_omega_without_writing_the_gradient_out(options):
    x = jnp.linspace(-1, 1, 12).reshape(3, 2, 2, 1)
    model = hypernetize(MLP((5,), 3), x, gamma_dim=2, hidden=(4, 6), **options)
    variables = jax.jit(model.init)(jax.random.key(0))

    def loss(apply):
        return jnp.square(apply(x) - 1).mean()

    def both(params):
        _, of_params, of_theta = loss_and_gradients(model, params, {}, GAMMA, loss)
        trained = {name: of_params[name] for name in ("hypernet", "theta0") if name in of_params}
        return omega_norm(model, {"params": params}, GAMMA, of_params, of_theta), global_norm(trained)

    ours, plain = jax.jit(both)(variables["params"])
    np.testing.assert_allclose(ours, plain, rtol=1e-5)


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_builds_for_uniform_and_normal_latents(name):
    x = jnp.zeros((1, 2, 2, 1))
    for variant in ARMS[name].variants():
        for gamma_range in ((0.0, 1.0), (-3.0, 5.0), None):
            model = networks.build(variant, MLP((4,), 3), x, gamma_range=gamma_range, gamma_dim=2, hidden=(4,))
            assert (model is None) == (not ARMS[name].hypernetwork)
            if model is not None and gamma_range:
                assert model.gamma.ranges[0][1] in (None, gamma_range)
        assert variant.definition()


def test_arms_share_the_primary_s_start_and_a_stack_is_its_runs(tmp_path):
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    single, stacked = study(tmp_path / "one", runs_per_program=1), study(tmp_path / "two", runs_per_program=3)
    setting, seeds = Setting("fan_out", (0.1, 0.01)), (0, 7)  # four runs: the second stack of three is filled up
    one = single.train(MIP, setting, seeds, REPORT)
    two = stacked.train(MIP, setting, seeds, REPORT)
    assert one.keys() == two.keys() and two["seed"].tolist() == [0, 7, 0, 7]
    for key in one:
        np.testing.assert_allclose(one[key], two[key], rtol=2e-3, atol=2e-5, err_msg=key)
    assert single.test_reads == 4
    # the same seed is the same primary in every arm
    keys, own = single.own(np.array([7], np.uint32))
    starts = {
        name: single.starter(ARMS[name].variants()[0], "sgd")(jax.random.clone(keys), np.ones(1, np.float32), own)
        for name in ("plain", "mip", "additive")
    }
    for name in ("mip", "additive"):
        jax.tree.map(np.testing.assert_array_equal, starts[name].params["theta0"], starts["plain"].params)


def test_programs_are_compiled_once_for_all_runs_rates_variants_and_phases(tmp_path):
    here = study(tmp_path, runs_per_program=1)
    for initializer in ARMS["mip"].initializers[:2]:
        here.train(MIP, Setting(initializer, (0.1, 0.3)), (0, 1), TUNE)
        here.train(MIP, Setting(initializer, (0.1,)), (100,), REPORT)
    here.train(COPY, Setting("fan_out", (0.1,)), (100,), REPORT)
    programs = here.programs(_architecture(ARMS["mip"]), "sgd")
    assert programs.advance._cache_size() == 1
    assert programs.probe._cache_size() == 1
    assert programs.finish._cache_size() == 2  # the curve's examples, and the whole test split


def test_a_copy_differs_in_draws_and_a_run_that_blew_up_scores_as_guessing(tmp_path):
    here = study(tmp_path, runs_per_program=1)
    setting = Setting("fan_out", (0.1, 1e30))
    mip, copy = (here.train(cell, setting, (100,), REPORT) for cell in (MIP, COPY))
    assert (mip["seed"] == copy["seed"]).all() and (mip["curve/loss"][0] != copy["curve/loss"][0]).all()
    assert mip["final/finite"].tolist() == [1, 0]
    assert mip["final/score"][1] == pytest.approx(1 / 3)
    assert mip["curve/score"][1, -1] == pytest.approx(1 / 3)
    assert mip["probe/norm"].shape == (2, 3, 21)


def test_an_arm_that_fails_ends_the_others_with_its_error(tmp_path):
    here = study(tmp_path, workers=2)

    def measure(name):
        if name == "bad":
            raise HyperlabError("bad arm")
        return name

    with pytest.raises(HyperlabError, match="bad arm"):
        here.in_parallel(measure, ["good", "bad", "later"])


def test_the_primary_s_half_of_the_key_is_hypernetize_s():
    primary, x = as_primary(MLP((4,), 3)), jnp.zeros((1, 2, 2, 1))
    model = hypernetize(MLP((4,), 3), x, hidden=(4,))
    key = jax.random.key(3)
    own = own_start(primary, jax.random.clone(key), x)
    alone, given = model.init(jax.random.clone(key)), model.init(jax.random.clone(key), pretrained=own)
    jax.tree.map(np.testing.assert_array_equal, trees.flatten(alone), trees.flatten(given))


def test_runs_that_are_dealt_over_devices_send_nothing_to_each_other():
    """A convolution with kernels of its own in every run is one in groups, which XLA does not deal out by itself."""
    config = stability.get_config()
    config.update(arms=("mip",), contrasts=(), runs_per_program=4, steps_per_call=2, evaluate_every=2)
    config.update(train_length="4 steps", primary={"kind": "conv", "widths": (4, 8)})
    found = programs.noted(config, "cpu", jax.devices()[:4], 2**33).programs
    (advance,) = {one.jitted: one for one in found if one.kind == "training"}.values()
    text = advance.jitted.lower(*advance.given).compile().as_text()
    assert not {"all-gather", "all-reduce", "all-to-all"} & set(text.replace("(", " ").split())
