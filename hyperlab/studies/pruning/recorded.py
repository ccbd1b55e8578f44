"""What a pruning study has recorded, in the form that the rules of a fair evaluation are decided from."""

from collections.abc import Sequence

import pandas as pd

from hyperlab.data.splits import fingerprint
from hyperlab.studies.pruning import results as measured
from hyperlab.studies.pruning.arms import control_of, find, with_controls
from hyperlab.studies.pruning.record import DataSet, PrunedCurve, StudyRecord
from hyperlab.train import config as configs

METRICS = "1"  # of the definitions in hyperlab.metrics.classification and .compression; raised where they change
# What may differ between methods, or is no part of what happens after pruning.
_NOT_RECIPE = ("arms", "controls", "contrasts", "speedup_contrasts", "compared", "compressions", "published", "workers")


def record(study: measured.Study, published: Sequence[str] = ()) -> StudyRecord:
    """The record of a finished study.

    Args:
      study: the study.
      published: sources of what is drawn behind its curves.
    """
    task, config = study.task, study.config
    frame = measured.results(study)
    return StudyRecord(
        datasets=(DataSet(task["data"], task["fingerprint"], f"seed {config.data.split_seed}", task["classes"]),),
        curves=tuple(_curve(study, name) for name in study.methods),
        metrics_version=METRICS,
        top=tuple(k for k, name in ((1, "accuracy"), (5, "top5")) if name in set(frame["metric"])) or (1,),
        columns=tuple(frame.columns),
        panels=measured.AXES,
        mac_convention="multiply-add = 1",
        macs_counted=True,
        controls=_controls(study),
        spread="sample standard deviation",
        parent_scores=(f"{task['data']} / {task['architecture']}",),
        older_work=tuple(published),
        labelled_theoretical=True,
    )


def recipe(study: measured.Study, track: str) -> str:
    """A hash of what happens after pruning: data, budget, optimiser, schedule, how rates are chosen."""
    kept = {name: value for name, value in configs.plain(study.config).items() if name not in _NOT_RECIPE}
    return configs.digest({**kept, "track": track})


def _curve(study: measured.Study, name: str) -> PrunedCurve:
    points = study.compressions(name)
    seeds = study.runs[name][points[0]]
    shapes = pd.Series({path: tuple(shape) for path, shape in study.task["shapes"].items()}).sort_index()
    return PrunedCurve(
        dataset=study.task["data"],
        architecture=study.task["architecture"],
        method=study.label(name),
        track={"trained": "trained", "initial": "initialisation"}[find(name).parent],
        shapes=fingerprint(pd.util.hash_pandas_object(shapes.astype(str)).to_numpy()),
        parents=tuple(str(one["parent"]) for one in seeds),
        recipe=recipe(study, find(name).track),
        compressions=tuple(points),
        seeds=tuple(int(one["seed"]) for one in seeds),
    )


def _controls(study: measured.Study) -> tuple[str, ...]:
    """Those of the rules' names that were run."""
    names = set(study.methods)
    found = ["unpruned", "unpruned_fine_tuned"]
    found += [name for name in ("random", "global_magnitude", "layer_magnitude") if name in names]
    found += ["random_own_fractions"] * any(_is_control(name, "random") for name in names)
    # Where every method ranks by magnitude, each is its own control.
    wanted = [name for name in with_controls(names) if _is_control(name, "magnitude")]
    found += ["magnitude_own_fractions"] * (names >= set(wanted))
    return tuple(found)


def _is_control(name: str, masks: str) -> bool:
    """Whether a method is a control with another method's shares of the tensors, by these masks."""
    of = control_of(name)
    return of is not None and of[0] == masks
