"""What the uncertainty study measured, read from its run folder: masks, probabilities, maps, and their worth."""

import dataclasses
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from hyperlab.data.shifts import SHIFTS
from hyperlab.metrics import statistics
from hyperlab.report.finished import Finished
from hyperlab.studies.uncertainty import Point, find
from hyperlab.studies.uncertainty.baselines import FLOORS
from hyperlab.train.phases import report_seeds
from hyperlab.train.units import Measurements
from hyperlab.uncertainty import detection, selective

NAMES = {  # what contrasts may be of; higher is better
    "dice": "Dice",
    "error_detection": "AUROC of pixel errors in the band",
    "independence": "1 - mean |correlation| of feature maps",
    "likelihood": "log likelihood a pixel (nats)",
}


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
      config: as it ran.
      data: the contents of `data.json`.
      choices: what tuning chose, by arm.
      runs: `{point: [measurements of each seed]}`.
      floors: of `reliability.floors.measure`.
      untrained: probes of networks before their first step, by seed.
      images: the first test images and their labels, as `shown/images` and `shown/labels`.
      costs: of every arm, see `reliability.costs`; those of runs before there were any are not there.
    """

    config: Any
    data: dict[str, Any]
    choices: dict[str, Any]
    runs: dict[Point, list[Measurements]]
    floors: Measurements
    untrained: list[Measurements]
    images: Measurements
    costs: dict[str, Measurements]

    @property
    def arms(self) -> list[str]:
        """In the order of the config."""
        return list(self.config.arms)

    def label(self, arm: str) -> str:
        """What the report calls an arm or a floor."""
        return FLOORS.get(arm) or find(arm).label

    def chosen(self, arm: str, share: float = 1.0) -> Point:
        """An arm at the dropout rate that validation chose."""
        return Point(arm, self.choices[arm]["dropout_rate"], share)

    def curve(self, arm: str) -> list[Point]:
        """An arm at all its dropout rates."""
        return sorted(point for point in self.runs if point.arm == arm and point.share == 1)

    def final(self, arm: str) -> str:
        """The answer that stands for an arm."""
        if find(arm).answers == "members":
            return str(self.config.members)
        return "pass" if find(arm).answers == "pass" else str(max(self.config.draws))

    def map(self, arm: str) -> str:
        """The map that stands for an arm: one pass has no other than its entropy."""
        return "total" if find(arm).answers == "pass" else self.config.judging["map"]

    def each(self, point: Point, part: str, measure: str, answer: str = "") -> np.ndarray:
        """A measure of every seed, `[seeds, ...]`."""
        answer = answer or self.final(point.arm)
        return np.stack([one[f"{part}/{answer}/{measure}"] for one in self.runs[point]])

    def value(self, point: Point, part: str, measure: str, answer: str = "") -> np.ndarray:
        """A measure of every seed, `[seeds]`; of what every image has, the mean of where it is defined."""
        values = self.each(point, part, measure, answer)
        return means(values.reshape(len(values), -1))

    def metric(self, point: Point, name: str) -> np.ndarray:
        """What contrasts are of, `[seeds]`; see `NAMES`. What is undefined counts as knowing nothing."""
        if name == "dice":
            return np.nan_to_num(self.value(point, "test", "dice"))
        if name == "likelihood":
            return -self.value(point, "test", "nll")
        if name == "error_detection":
            return np.nan_to_num(self.value(point, "test", f"auroc/band/{self.map(point.arm)}"), nan=0.5)
        return np.nan_to_num(1 - self.correlation(point))

    def probed(self, arm: str) -> bool:
        """Whether there are feature maps of an arm that could be looked at."""
        return "probe/kept_dice" in self.runs[self.chosen(arm)][0]

    def correlation(self, point: Point) -> np.ndarray:
        """Mean |R| between feature maps, over blocks, foreground and background: `[seeds]`."""
        return _correlation(self.runs[point])


def _correlation(runs: list[Measurements]) -> np.ndarray:
    keys = [f"probe/{region}/mean_absolute" for region in ("foreground", "background")]
    return np.array([means(np.array([[one.get(key, np.nan) for key in keys]]))[0] for one in runs])


def means(values: np.ndarray) -> np.ndarray:
    """Means of rows over what is defined; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(-1)
    return np.divide(np.where(known, values, 0).sum(-1), count, out=np.full(len(values), np.nan), where=count > 0)


def read(folder: Path) -> Study:
    """A finished study.

    Raises:
      WorkdirError: it is not finished.
    """
    finished = Finished(folder)
    config = ml_collections.FrozenConfigDict(finished.config)
    seeds = report_seeds(config)
    runs = {}
    for arm, choice in finished.choices.items():
        points = [Point(arm, float(rate)) for rate in choice["rates"]]
        points += [Point(arm, choice["dropout_rate"], share) for share in config.train_shares if share != 1]
        for point in points:
            rate = choice["rates"][f"{point.dropout_rate:g}"]["learning_rate"]
            runs[point] = [finished.unit(f"judged/{point.name}/{rate:.3g}/{seed}") for seed in seeds]
    names = {arm: f"cost/{Point(arm, one['dropout_rate']).name}" for arm, one in finished.choices.items()}
    costs = {arm: finished.unit_if_there(name) for arm, name in names.items()}
    return Study(
        config,
        finished.json("data.json"),
        finished.choices,
        runs,
        finished.unit("floors"),
        [finished.unit(f"untrained/{seed}") for seed in seeds],
        finished.unit("images"),
        {arm: cost for arm, cost in costs.items() if cost is not None},
    )


# -- tables -------------------------------------------------------------------------------------------------------


def results(study: Study) -> pd.DataFrame:
    """One row for each arm, dropout rate, share of the training images, seed, part, answer and metric.

    `n` is over how many images a value is the mean; 0 where it is of all pixels, objects or images together.
    """
    rows = []

    def add(where: dict[str, Any], measured: Measurements, part: str, answer: str, keys: list[str]) -> None:
        for key in keys:
            name = key.removeprefix(f"{part}/{answer}/")
            if name.startswith("reliability/"):
                continue
            values = np.ravel(measured[key]).astype(float)
            several = values.size > 1
            value = means(values[None])[0]
            n = int((~np.isnan(values)).sum()) if several else 0
            rows.append({**where, "part": part, "answer": answer, "metric": name, "value": value, "n": n})

    for point, runs in study.runs.items():
        for one in runs:
            where = {"arm": point.arm, "dropout_rate": point.dropout_rate, "train_share": point.share}
            where |= {"seed": int(one["seed"]), "learning_rate": float(one["learning_rate"])}
            for (part, answer), keys in _grouped(one).items():
                add(where, one, part, answer, keys)
            for key in (key for key in one if key.startswith("probe/")):
                value = means(np.ravel(one[key]).astype(float)[None])[0]
                rows.append({**where, "part": "probe", "answer": "pass", "metric": key[6:], "value": value, "n": 0})
    for floor in FLOORS:
        measured = {key[len(floor) + 1 :]: v for key, v in study.floors.items() if key.startswith(f"{floor}/")}
        for (part, answer), keys in _grouped(measured).items():
            add({"arm": floor, "train_share": 1.0}, measured, part, answer, keys)
    return pd.DataFrame(rows)


def _grouped(measured: Measurements) -> dict[tuple[str, str], list[str]]:
    """Keys `<part>/<answer>/<measure>` by part and answer; the part's name may hold a slash."""
    groups: dict[tuple[str, str], list[str]] = {}
    for key in measured:
        words = key.split("/")
        place = next((i for i, word in enumerate(words[:3]) if word == "pass" or (i and word.isdigit())), None)
        if place is not None and words[0] in (*SHIFTS, "border", "other") and place == 1:
            place = 2  # the number was a severity
        if place:
            groups.setdefault(("/".join(words[:place]), words[place]), []).append(key)
    return groups


def contrasts(study: Study) -> dict[str, dict[str, statistics.Contrast]]:
    """The contrasts that the config names, in one family: paired by seed, Holm's correction over all of them."""
    pairs = {}
    for contrast in study.config.contrasts:
        metric, _, pair = contrast.partition(": ")
        first, second = pair.split(" - ")
        pairs[contrast] = tuple(study.metric(study.chosen(arm), metric) for arm in (first, second))
    compared = statistics.contrasts(pairs)
    result: dict[str, dict[str, statistics.Contrast]] = {}
    for name, one in compared.items():
        metric, _, pair = name.partition(": ")
        result.setdefault(f"{metric}/test split", {})[pair] = one
    return result


def gains(study: Study) -> pd.DataFrame:
    """What the map of an arm that samples adds to scores that need no sampling, as differences of AUROC over seeds.

    Columns `arm`, `where` (image, band, object), `over` (the entropy of one pass, the distance to the boundary), and
    `mean`, `low`, `high`, `verdict` of a t interval, not corrected for how many there are.
    """
    rows = []
    for arm in study.arms:
        if find(arm).answers == "pass":
            continue
        point, own = study.chosen(arm), study.map(arm)
        for where in ("image", "band", "object"):
            for over in ("one_pass", "distance") if where != "object" else ("one_pass",):
                first, second = (study.value(point, "test", f"auroc/{where}/{name}") for name in (own, over))
                known = ~np.isnan(first) & ~np.isnan(second)
                row = {"arm": arm, "where": where, "over": over, "seeds": int(known.sum())}
                row |= {"auroc": means(first[None])[0], "auroc_of_trivial": means(second[None])[0]}
                if known.any():
                    c = statistics.paired_contrast(first[known], second[known])
                    row |= {"mean": c.mean, "low": c.low, "high": c.high, "verdict": c.verdict}
                rows.append(row)
    return pd.DataFrame(rows)


def acceptance(study: Study) -> pd.DataFrame:
    """How many test images could be accepted unseen: a threshold from validation for every network, judged on test.

    Means over seeds; `coverage_low` and `coverage_high` are the 95 % interval over the images for the first seed.
    """
    rows, target = [], study.config.judging["target"]
    for arm in study.arms:
        point, score = study.chosen(arm), f"score/{study.map(arm)}"
        found = []
        for index in range(len(study.runs[point])):
            seen, judged = (
                [study.each(point, part, name)[index] for name in (score, "dice")] for part in ("validation", "test")
            )
            threshold = selective.choose_threshold(*seen, target)
            found.append(selective.accept(*judged, threshold))
        first, coverage = found[0].coverage, [one.coverage.estimate for one in found]
        rows.append(
            {
                "arm": arm,
                "target": target,
                "coverage": float(np.mean(coverage)),
                "coverage_low": first.low,
                "coverage_high": first.high,
                "coverage_sd_over_seeds": float(np.std(coverage, ddof=1)) if len(found) > 1 else np.nan,
                "mean_dice": means(np.array([[one.mean_dice.estimate for one in found]]))[0],
                "below": means(np.array([[one.below.estimate for one in found]]))[0],
                "oracle_coverage": float(np.mean([one.oracle_coverage for one in found])),
                "lot_mean_dice": float(np.mean([one.random_mean_dice for one in found])),
                "lot_below": float(np.mean([one.random_below for one in found])),
                "without_dice": found[0].excluded,
            }
        )
    return pd.DataFrame(rows)


def shifts(study: Study) -> pd.DataFrame:
    """How well image scores tell shifted test images from those of the domain: AUROC, means over seeds.

    Scores are the arm's map, the entropy of one pass, and, needing no network's doubt, how far the mean intensity and
    the predicted area are from their medians on the validation split.
    """
    rows = []
    for part in study.data["parts"]:
        shift, _, severity = part.partition("/")
        if shift not in SHIFTS:
            continue
        for arm in study.arms:
            point, own = study.chosen(arm), study.map(arm)
            names = {own: f"score/{own}", "one_pass": "score/one_pass"}
            row = {"shift": shift, "severity": int(severity), "arm": arm}
            row["dice"] = means(study.value(point, part, "dice")[None])[0]
            for name, measure in names.items():
                inside, outside = study.each(point, "test", measure), study.each(point, part, measure)
                row["map" if name == own else name] = _shift(inside, outside)
            for name in ("intensity", "predicted_area"):
                middle = np.median(study.each(point, "validation", name), 1, keepdims=True)
                inside, outside = (np.abs(study.each(point, p, name) - middle) for p in ("test", part))
                row[name] = _shift(inside, outside)
            rows.append(row)
    return pd.DataFrame(rows)


def kinds(study: Study) -> pd.DataFrame:
    """Whether maps are of the kind that they are called: how they change with more data, and with blurred borders.

    Columns `arm`, `map`, `change` (`share`: all training images less the smallest share, on the test split; `border`:
    the widest border less the sharpest), and `mean`, `low`, `high` of a t interval over seeds of the mean image score,
    in nats; not corrected for how many there are.
    """
    shares, borders = sorted(study.config.train_shares), sorted(study.config.data.borders)
    rows = []
    for arm in study.arms:
        if find(arm).answers == "pass":
            continue
        changes = {}
        if len(shares) > 1:
            changes["share"] = [(study.chosen(arm, share), "test") for share in (shares[-1], shares[0])]
        if len(borders) > 1:
            changes["border"] = [(study.chosen(arm), f"border/{border:g}") for border in (borders[-1], borders[0])]
        for change, (first, second) in changes.items():
            for name in ("epistemic", "aleatoric"):
                c = statistics.paired_contrast(*(study.value(*one, f"score/{name}") for one in (first, second)))
                rows.append({"arm": arm, "map": name, "change": change, "mean": c.mean, "low": c.low, "high": c.high})
    return pd.DataFrame(rows)


def _shift(inside: np.ndarray, outside: np.ndarray) -> float:
    return float(np.mean([detection.shift_detection(*pair).auroc for pair in zip(inside, outside, strict=True)]))
