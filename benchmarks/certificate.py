"""How well does a certificate before step 0 foretell which runs of a map diverge, on what its limits were not set on?

    python benchmarks/certificate.py RUN_FOLDER --record

The folder is that of `configs/stability/map.py`. A run counts at rates at which no run without a hypernetwork diverged
in the same place (a primary and an optimizer): others say nothing about how parameters are generated. The limits of
`hypernet.certificate` were set on five arms and two laws of gamma with the MLP; AUROC, false alarms and misses of the
others follow, and the record of a map without the MLP has the names of its primaries. The arm that is fitted first is
left out: its certificate would be of the network before that fit.
"""

import time
from pathlib import Path

import jax
import ml_collections
import numpy as np
import pandas as pd
from common import arguments, report

from hyperlab.hypernet import Certificate, certify
from hyperlab.hypernet.certificate import LIMITS
from hyperlab.report.finished import Finished
from hyperlab.studies.stability import networks, tasks
from hyperlab.studies.stability.arms import ARMS
from hyperlab.studies.stability.laws import placed
from hyperlab.studies.stability.map_results import read

FITTED_PRIMARY = "mlp"
FITTED_ARMS = ("default", "encoding", "additive", "mip", "mip_scaled")
FITTED_LAWS = ("uniform", "gaussian_16")
LEFT_OUT = ("plain", "prefit")
DRAWS, EXAMPLES, SEEDS = 24, 128, 4


def main() -> None:
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("folder", type=Path, help="run folder of a map")
    options = parser.parse_args()
    config, _, runs, _, _ = read(options.folder)
    certificates = certified(ml_collections.ConfigDict(Finished(options.folder).config), config)
    counted = joined(runs, certificates)
    results = {"parts": table(counted), "certificates": {"/".join(at): told(one) for at, one in certificates.items()}}
    by_optimizer = {name: table(counted[counted.optimizer == name]) for name in config["optimizers"]}
    results["parts_by_optimizer"] = by_optimizer
    for parts in (results["parts"], *by_optimizer.values()):
        print(pd.DataFrame(parts).to_string(index=False))
    if options.record:
        settings = {"fitted_arms": FITTED_ARMS, "fitted_laws": FITTED_LAWS, "draws": DRAWS, "examples": EXAMPLES}
        settings |= {
            "seeds": SEEDS,
            "fitted_primary": FITTED_PRIMARY,
            "primaries": config["map"]["primaries"],
            "limits": LIMITS,
        }
        primaries = config["map"]["primaries"]
        name = "certificate" if FITTED_PRIMARY in primaries else "_".join(("certificate", *primaries))
        report(name, settings, results, record=True)


def certified(config: ml_collections.ConfigDict, plain: dict) -> dict[tuple[str, str, str], Certificate]:
    """The certificate of each arm under each law, `{(primary, law, arm): Certificate}`."""
    found = {}
    for primary in plain["map"]["primaries"]:
        for law in plain["map"]["laws"]:
            task = tasks.load(placed(config, primary, law))
            first = np.arange(EXAMPLES)
            batch = task.take(jax.tree.map(np.asarray, task.train()), first)
            draws = np.asarray(task.draw(np.array([7], np.uint32), range(DRAWS), False).values)[0]
            for arm in plain["arms"]:
                if arm in LEFT_OUT:
                    continue
                model = networks.build(
                    ARMS[arm].variant(ARMS[arm].untuned),
                    task.primary,
                    *task.example,
                    gamma_range=task.gamma_range,
                    gamma_dim=task.gamma_dim,
                    select=task.select,
                    hidden=tuple(config.hypernet.hidden),
                    activation=config.hypernet.activation,
                )
                start = time.perf_counter()
                loss = lambda outputs, batch, task=task: task.loss(outputs, batch, None)  # noqa: E731
                given = (batch.images, batch)
                found[primary, law, arm] = certify(model, draws, given, loss, seeds=SEEDS, mend=False)
                spent = time.perf_counter() - start
                print(f"{primary}/{law}/{arm}: {spent:.1f} s; {told(found[primary, law, arm])}", flush=True)
    return found


def told(one: Certificate) -> dict:
    """Verdict, risk, and each number over its limit."""
    parts = {name: round(float(value), 3) for name, value in one.excesses.items()}
    return {"findings": list(one.findings), "risk": round(one.risk, 3), **parts}


def joined(runs: pd.DataFrame, certificates: dict[tuple[str, str, str], Certificate]) -> pd.DataFrame:
    """The runs that count, with their risk and whether they were called sound."""
    rate = ["primary", "optimizer", "learning_rate"]
    bare = runs[runs.arm == "plain"].groupby(rate)["diverged"].any()
    counted = runs[~runs.arm.isin(LEFT_OUT)]
    counted = counted[[not bare[tuple(row)] for row in counted[rate].to_numpy().tolist()]]
    places = list(zip(counted.primary, counted.law, counted.arm, strict=True))
    return counted.assign(
        risk=[certificates[place].risk for place in places], sound=[certificates[place].sound for place in places]
    )


def table(runs: pd.DataFrame) -> list[dict]:
    """One row for the part that limits were set on, and for each that they were not; none for a part without runs."""
    arm, law, mlp = runs.arm.isin(FITTED_ARMS), runs.law.isin(FITTED_LAWS), runs.primary == FITTED_PRIMARY
    parts = {
        "limits were set on": arm & law & mlp,
        "another primary": ~mlp,
        "another primary, the same arms and laws": arm & law & ~mlp,
        "other arms": ~arm,
        "another law": ~law,
        "other arms and another law": ~arm & ~law,
        "all they were not set on": ~(arm & law & mlp),
    }
    return [{"part": name, **judged(runs[part])} for name, part in parts.items() if part.any()]


def judged(runs: pd.DataFrame) -> dict:
    """AUROC over runs, over pairs of runs at the same rate, and over cells; false alarms and misses of the verdict.

    A cell is an arm with an optimizer under a law: it diverged if any of its runs did. A certificate knows neither the
    rate nor the seed, so over all runs it cannot reach 1.
    """
    kept = {"lost": ("diverged", "any"), "sound": ("sound", "first"), "risk": ("risk", "first")}
    cells = runs.groupby(["primary", "law", "optimizer", "arm"]).agg(**kept)
    alarms, misses = cells[~cells.lost], cells[cells.lost]
    strata = [one for _, one in runs.groupby(["primary", "optimizer", "learning_rate"])]
    pairs = [int(one.diverged.sum() * (~one.diverged).sum()) for one in strata]
    within = [auroc(one.risk.to_numpy(), one.diverged.to_numpy()) for one in strata]
    known = [(value, count) for value, count in zip(within, pairs, strict=True) if count]
    return {
        "runs": len(runs),
        "diverged": int(runs.diverged.sum()),
        "auroc": round(auroc(runs.risk.to_numpy(), runs.diverged.to_numpy()), 3),
        "auroc_same_rate": round(_mean(known), 3),
        "auroc_cells": round(auroc(cells.risk.to_numpy(), cells.lost.to_numpy()), 3),
        "false_alarms": f"{int((~alarms.sound).sum())}/{len(alarms)}",
        "missed": f"{int(misses.sound.sum())}/{len(misses)}",
    }


def _mean(known: list[tuple[float, int]]) -> float:
    return sum(value * count for value, count in known) / max(1, sum(count for _, count in known))


def auroc(score: np.ndarray, label: np.ndarray) -> float:
    """The share of pairs of one run that diverged and one that did not in which the first has the higher risk."""
    lost, kept = score[label][:, None], score[~label][None, :]
    if not lost.size or not kept.size:
        return float("nan")
    return float(np.mean((lost > kept) + 0.5 * (lost == kept)))


if __name__ == "__main__":
    main()
