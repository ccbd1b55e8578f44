"""Metrics of uncertainty over 100 images of 256x256 with 20 samples: seconds of each part, and of all together.

    python benchmarks/uncertainty_metrics.py --record

Given are what sampling leaves: maps of mean probability, entropy, mutual information and variance, and the packed
masks of the samples. Measured is what a report asks of them: calibration of the top label and of the foreground over
the image, the foreground and a band round the predicted boundary, with both kinds of bin; proper scores and overlap;
detection of pixel errors by four scores over the image and inside the band; selective prediction over pixels, objects
and images; tables of objects and of image scores with their association with Dice; agreement of the samples' masks.
The images are drawn: disks whose border is uncertain. The first call, which compiles, is reported apart.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from common import arguments, interleave, quartiles, report, table

from hyperlab.uncertainty.association import association
from hyperlab.uncertainty.calibration import calibration_table
from hyperlab.uncertainty.detection import boundary_band, certainty_table, detection, distance_to_boundary
from hyperlab.uncertainty.image_scores import image_scores
from hyperlab.uncertainty.objects import match_objects, object_samples, object_table
from hyperlab.uncertainty.proper import brier_over_classes, nll, overlap
from hyperlab.uncertainty.selective import accept, augrc, aurc, choose_threshold, excess_aurc, risk_coverage
from hyperlab.uncertainty.sets import structure, unpack

SETTINGS = {"images": 100, "size": 256, "samples": 20, "disks": 12}
TARGETS = {"seconds": 20.0}


def main() -> None:
    options = arguments(__doc__, repeats=3).parse_args()
    given = drawn()
    parts = {part.__name__: part for part in (calibration, scores, errors, selection, objects, images, masks)}
    first = {}
    for name, part in parts.items():
        start = time.perf_counter()
        part(given)
        first[name] = time.perf_counter() - start
    times = interleave({name: lambda part=part: timed(part, given) for name, part in parts.items()}, options.repeats)
    times["all"] = [sum(turn) for turn in zip(*times.values(), strict=True)]
    table(times, {name: first[name] for name in parts}, "set of images")
    total, together = quartiles(times["all"])["median"], sum(first.values())
    met = together <= TARGETS["seconds"]
    print(f"all: {total:.1f} s; the first time, with compilation, {together:.1f} s ", end="")
    print(f"(target {TARGETS['seconds']:.0f}): {'met' if met else 'not met'}")
    results = {"seconds": times, "first": first, "total": total, "total_first": together, "met": met}
    report("uncertainty_metrics", SETTINGS, results, options.record)


def timed(part, given) -> float:
    start = time.perf_counter()
    part(given)
    return time.perf_counter() - start


def calibration(given):
    regions = {"image": None, "foreground": given["labels"] > 0, "band": boundary_band(given["predictions"])}
    return calibration_table(given["mean"], given["labels"], regions)


def scores(given):
    mean, labels = jnp.asarray(given["mean"]), jnp.asarray(given["labels"])
    return jax.device_get([jax.jit(f)(mean, labels) for f in (nll, brier_over_classes, overlap)])


def errors(given):
    distance, wrong = distance_to_boundary(given["predictions"]), given["predictions"] != given["labels"]
    ranked = {name: given[name] for name in ("total", "epistemic", "variance")} | {"minus_distance": -distance}
    found = [detection(score, wrong, mask) for score in ranked.values() for mask in (None, distance <= 3)]
    return found, certainty_table(given["total"], wrong, 0.3)


def selection(given):
    wrong = (given["predictions"] != given["labels"]).ravel()
    curves = [risk_coverage(given[name].ravel(), wrong) for name in ("total", "epistemic")]
    return [(aurc(curve), excess_aurc(curve, wrong), augrc(curve)) for curve in curves]


def objects(given):
    rows, wrong = [], []
    maps = ("total", "epistemic")
    for image in range(SETTINGS["images"]):
        mask = given["predictions"][image] > 0
        rows.append(object_table(mask, {name: given[name][image] for name in maps}))
        wrong.append(match_objects(mask, given["labels"][image] > 0).error)
    return aurc(risk_coverage(np.concatenate([row["mean_epistemic"] for row in rows]), np.concatenate(wrong)))


def images(given):
    dice = np.asarray(overlap(jnp.asarray(given["mean"]), jnp.asarray(given["labels"])).dice)[:, 0]
    areas, found = (given["labels"] > 0).sum((1, 2)), {}
    for name in ("total", "epistemic", "variance"):
        for kind, score in image_scores(given[name], given["predictions"]).items():
            half = len(score) // 2
            chosen = choose_threshold(score[:half], dice[:half])
            found[name, kind] = association(score, dice, areas), accept(score[half:], dice[half:], chosen)
    return found


def masks(given):
    found = []
    for bits in given["bits"]:
        one = unpack(bits[None], given["labels"].shape[1:])
        found.append((jax.device_get(agreement(one)), object_samples(one[0])))
    return found


agreement = jax.jit(structure)


def drawn() -> dict[str, np.ndarray]:
    """Disks with samples of their borders, and the maps that these samples have."""
    random, size, samples = np.random.default_rng(0), SETTINGS["size"], SETTINGS["samples"]
    rows, columns = np.indices((size, size), np.float32)
    given: dict[str, list] = {name: [] for name in ("mean", "total", "epistemic", "variance", "labels", "bits")}
    for _ in range(SETTINGS["images"]):
        depth = np.full((size, size), -np.inf, np.float32)
        for row, column, radius in random.uniform((0, 0, 4), (size, size, 20), (SETTINGS["disks"], 3)):
            depth = np.maximum(depth, radius - np.hypot(rows - row, columns - column))
        shifts = random.normal(0, 1.5, (samples, 1, 1)).astype(np.float32)
        noise = random.normal(0, 0.3, (samples, size, size)).astype(np.float32)
        p = np.clip(1 / (1 + np.exp(-np.clip(depth + shifts + noise, -15, 15))), 1e-6, 1 - 1e-6)
        mean, single = p.mean(0), (-p * np.log(p) - (1 - p) * np.log(1 - p)).mean(0)
        total = -mean * np.log(mean) - (1 - mean) * np.log(1 - mean)
        given["mean"].append(np.stack([1 - mean, mean], -1))
        given["total"].append(total)
        given["epistemic"].append(np.maximum(total - single, 0))
        given["variance"].append(2 * p.var(0))
        given["labels"].append((depth + random.normal(0, 1.5) > 0).astype(np.int32))
        given["bits"].append(np.packbits((p > 0.5).reshape(samples, -1), axis=-1))
    arrays = {name: np.stack(values) for name, values in given.items()}
    return arrays | {"predictions": arrays["mean"].argmax(-1).astype(np.int32)}


if __name__ == "__main__":
    main()
