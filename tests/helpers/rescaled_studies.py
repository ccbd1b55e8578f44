"""Finished rescaling studies of given scores, made without a training or a file."""

import ml_collections
import numpy as np
import pandas as pd

from hyperlab.studies.rescaling.arms import ARMS, Cell, cells_of
from hyperlab.studies.rescaling.results import Study

FACTORS = (0.1, 0.3, 0.5)
MACS = {0.1: 20.0, 0.2: 30.0, 0.3: 53.0, 0.4: 75.0, 0.5: 100.0}
LATENCY = {0.1: 0.001, 0.3: 0.002, 0.5: 0.003}
CLASSES = ("ellipse", "rectangle")
NOISE = np.array([0.0, 0.001, -0.001, 0.0005, -0.0005, 0.0015, -0.0015, 0.0002])  # of as many seeds


def study(scores, *, contrasts=(), front=(), seconds=(), spread=0.0001, subjects=12, optimizer="adam", **config):
    """A study whose arms have given test Dice.

    Args:
      scores: `{arm: [seeds]}`, the same at every factor, or `{arm: {factor: [seeds]}}`, or `{arm: [seeds, factors]}`.
      contrasts: that were named before it ran.
      front: factors of the arms of the prior beside the compared ones.
      seconds: `{arm: of training one network}`, 10 for the others.
      spread: a quarter of the calls were faster by this many seconds, and a quarter slower.
      subjects: of the test split; every one has the same Dice.
      optimizer: of the config.
      **config: further keys.
    """
    first = next(iter(scores.values()))
    count = len(next(iter(first.values())) if isinstance(first, dict) else first)
    made = ml_collections.ConfigDict(
        {"arms": tuple(scores), "factors": FACTORS, "front": tuple(front), "contrasts": tuple(contrasts),
         "report_seeds": count, "margin": 0.01, "tolerance": 0.01, "train_length": "200 steps", "widths": (0.5,),
         "optimizer": optimizer, **config}
    )  # fmt: skip
    runs, training = {}, {}
    for arm, given in scores.items():
        cells = cells_of(arm, made)
        runs[arm] = {cell: _seeds(cell, given, made, subjects) for cell in cells}
        cost = {"train_seconds": float(dict(seconds).get(arm, 10.0)), "compile_seconds": 1.0, "step_seconds": 0.01}
        training[arm] = {cell: {**cost, "parameters": 10.0, "programs": 1.0} for cell in cells}
    inference = {width: _inference(width, spread) for width in (1.0, *made.widths)}
    choices = {arm: {"label": ARMS[arm].label, "learning_rate": 0.01, "at_edge": False} for arm in scores}
    cases = tuple(f"case_{place}" for place in range(subjects))
    return Study(made, choices, runs, inference, training, [], CLASSES, cases)


def _seeds(cell: Cell, given, config, subjects):
    own = [cell.factor] if cell.factor is not None else sorted({*config.factors, *config.front})
    places = {factor: place for place, factor in enumerate(config.factors)}

    def dice(factor, seed):
        if isinstance(given, dict):
            return given[factor][seed]
        value = np.asarray(given)[seed]
        return float(value if value.ndim == 0 else value[places[factor]])

    return [
        {
            "factors": np.array(own),
            "seed": np.array(100 + seed),
            "learning_rate": np.array(0.01),
            **{f"{split}/dice": np.array([np.full((subjects, len(CLASSES)), dice(factor, seed)) for factor in own])
               for split in ("validation", "test")},
        }
        for seed in range(config.report_seeds)
    ]  # fmt: skip


def _inference(width, spread):
    latency = pd.Series([LATENCY.get(factor, np.nan) for factor in MACS])
    rows = {"rescaling_factor": list(MACS), "macs": [width * macs for macs in MACS.values()], "latency": latency}
    rows |= {"latency_low": latency - spread, "latency_high": latency + spread}
    return pd.DataFrame(rows).set_index("rescaling_factor")
