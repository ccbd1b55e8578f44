"""The map: what counts as diverged, how wide a window is, what the verdict says, and that a small one runs whole."""

import numpy as np
import pandas as pd
import pytest

import hyperlab as hl
from experiments import stability
from hyperlab import sweep
from hyperlab.errors import ConfigError
from hyperlab.studies.stability import map_results
from hyperlab.studies.stability.arms import ARMS
from hyperlab.studies.stability.laws import LAWS, cells_of, placed
from hyperlab.studies.stability.map import Map
from hyperlab.studies.stability.map_results import ArmOfMap, diverged, summarised, verdict, window
from hyperlab.studies.stability.tasks.classification import Latents

TINY = {
    "map.laws": ("uniform", "gaussian_16"),
    "map.primaries": ("mlp",),
    "arms": ("plain", "mip", "prefit", "lora_start"),
    "contrasts": (),
    "rates.sgd": (0.03, 1e30),
    "report_seeds": 2,
    "train_length": "24 steps",
    "steps_per_call": 8,
    "evaluate_every": 4,
    "batch_size": 8,
    "samples": 2,
    "hypernet.hidden": (4,),
    "runs_per_program": 4,
}


def config(**changes):
    return sweep.apply(stability.get_config(), {**TINY, **changes})


def test_divergence_is_what_the_definition_says():
    steps = 40
    fine = np.linspace(2.0, 1.0, steps)
    burst = fine.copy()
    burst[-12:-3] = 50.0  # it comes back below its first value
    lost = fine.copy()
    lost[-10:] = 2.1
    gone = fine.copy()
    gone[-20:] = np.nan
    losses = np.stack([fine, burst, lost, gone, fine])
    assert diverged(losses, np.array([1, 1, 1, 1, 0])).tolist() == [False, False, True, True, True]


def test_a_window_is_unbroken_and_measured_by_the_best_of_all():
    rates = np.array([0.01, 0.03, 0.1, 0.3, 1.0])
    assert window(rates, np.array([0.9, 0.9, 0.9, 0.1, 0.9]), 0.9) == pytest.approx(10)
    assert window(rates, np.array([0.2, 0.2, 0.2, 0.2, 0.2]), 0.9) == 0
    assert window(rates, np.array([0.2, np.nan, 0.9, 0.2, 0.2]), 0.9) == 1
    assert window(rates, np.full(5, 0.9), 0.9) == pytest.approx(100)


def table(scores, steps=10.0):
    """Runs at one place: `{arm: [score at each rate]}`."""
    rates = (0.01, 0.1)
    rows = [
        {"primary": "mlp", "law": "uniform", "optimizer": "sgd", "arm": arm, "learning_rate": rate, "seed": 0}
        | {"score": score, "diverged": score < 0.2, "steps": steps, "reached": score > 0.8}
        for arm, values in scores.items()
        for rate, score in zip(rates, values, strict=True)
    ]
    return pd.DataFrame(rows)


def test_the_summary_of_a_table_by_hand():
    found = summarised(table({"mip": (0.9, 0.1), "additive": (0.9, 0.9), "default": (0.5, 0.5)}), dict.fromkeys(
        ("mip", "additive", "default"), "label"))  # fmt: skip
    assert [found[arm].diverged for arm in found] == [1, 0, 0]
    assert [found[arm].window for arm in found] == [1, 10, 0]
    assert [found[arm].never for arm in found] == [1, 0, 2] and found["default"].steps is None


def test_the_verdict_can_come_out_against_mip_and_for_it():
    arm = lambda label, lost, width: ArmOfMap(label, 10, lost, np.array([width]), 5.0, 0)  # noqa: E731
    mip, plain = arm("MIP", 2, 10.0), arm("no hypernetwork", 0, 100.0)
    against = verdict({"plain": plain, "mip": mip, "additive": arm("additive only", 1, 10.0)})
    assert "not the most stable" in against and "additive only, 1 and 10 times" in against
    for other in (arm("x", 1, 3.0), arm("x", 3, 30.0), arm("x", 2, 10.0)):
        assert "no other way" in verdict({"plain": plain, "mip": mip, "x": other})
    assert verdict({"x": arm("x", 3, 3.0), "y": arm("y", 1, 3.0)}).startswith("y diverged in 1 of 10")


def test_laws_draw_what_they_say():
    import jax

    key = lambda: jax.random.key(0)  # noqa: E731
    drawn = np.asarray(Latents(**LAWS["log_uniform"]).draw(key(), 4000))
    assert drawn.min() >= 0.01 and drawn.max() <= 10
    decades = np.histogram(np.log10(drawn), bins=[-2, -1, 0, 1])[0] / 4000
    np.testing.assert_allclose(decades, 1 / 3, atol=0.03)
    grid = np.asarray(Latents(**LAWS["log_uniform"]).grid(4))[:, 0]
    np.testing.assert_allclose(grid, [0.01, 0.1, 1, 10], rtol=1e-5)
    assert Latents(**LAWS["gaussian_16"]).draw(key(), 3).shape == (3, 16)


def test_cells_and_their_configs():
    made = config()
    cells = cells_of(made)
    assert len(cells) == len({cell.key for cell in cells}) == 1 * 2 * 1 * 4
    other = placed(made, "conv", "gaussian_16")
    assert (other.primary.kind, other.gamma.dim, other.gamma.prior) == ("conv", 16, "normal")
    assert made.primary.kind == "mlp" and made.gamma.dim == 1
    assert {ARMS[name].untuned for name in ARMS} >= {"own", "scale_matched", "fan_out", "bias_hyperinit", "fan_in"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "rescaling", "gamma.high": 0.5}, "a map is of the task 'classification'"),
        ({"arms": ("mip", "per_sample")}, "per_sample: a map has one gamma a batch"),
    ],
)
def test_what_a_map_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Map.load(config(**changes))


def test_a_small_map_runs_to_its_page_and_again_without_training(tmp_path):
    folder = hl.run(config(), tmp_path / "run")
    _, _, runs, labels, definitions = map_results.read(folder)
    assert len(runs) == 2 * 4 * 2 * 2 and set(runs.arm) == set(labels)
    assert runs[runs.learning_rate > 1].diverged.all() and not runs[(runs.arm == "plain")].diverged.all()
    fitted = runs[(runs.arm == "prefit") & runs.reached]
    assert (fitted.steps >= 8).all() and "fitted first for 33%" in definitions["prefit"]
    page = (folder / "report.html").read_text()
    assert page.index("MIP diverged in") < page.index("<table") and (folder / "figures/sgd.png").exists()
    unit = folder / "units/map--mlp--uniform--sgd--mip.npz"
    stamp = unit.read_bytes()
    hl.run(config(), folder)
    assert unit.read_bytes() == stamp
    # the units are those that the study itself trains
    start = runs[(runs.arm == "plain") & (runs.law == "uniform")].first_loss
    other = runs[(runs.arm == "lora_start") & (runs.law == "uniform")].first_loss
    np.testing.assert_allclose(start, other, rtol=1e-5)  # a LoRA start is the plain network
