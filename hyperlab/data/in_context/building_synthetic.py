"""Synthetic tasks into a store of tasks, one template at a time."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from hyperlab.data.in_context.building import Options, Report, cut_cases, run_jobs, stored
from hyperlab.data.in_context.standardize import RawCase, Standardization, standardize
from hyperlab.data.in_context.store import is_finished, task_folder, write_task
from hyperlab.data.in_context.synthetic import Settings, synthetic_task
from hyperlab.data.in_context.tasks import TaskData, TaskName


def build_synthetic(
    out: str | Path,
    tasks: int,
    subjects: int,
    settings: Standardization,
    options: Options,
    *,
    seed: int = 0,
    difficulty: float = 1.0,
    report: Report | None = None,
) -> list[Path]:
    """Adds synthetic tasks to a store: data set `synthetic`, one modality a template, one task a label.

    Images are generated at the largest of the sizes; see `hyperlab.data.in_context.synthetic`.

    Args:
      out: the store.
      tasks: how many templates; each has several labels.
      subjects: images of each template.
      settings: the standardisation.
      options: see `Options`.
      seed: of the generator.
      difficulty: 0 to 1, the published ranges.
      report: as for `build`.
    """
    out = Path(out).expanduser()
    recipe = {
        "difficulty": difficulty, "dtype": options.dtype, "seed": seed, "subjects": subjects,
        "splits": [options.validation, options.test, options.split_seed],
        "standardization": json.loads(json.dumps(asdict(settings))),
    }  # fmt: skip
    Settings.of(difficulty)
    jobs = []
    for task in range(tasks):
        marker = [task_folder(out, size, _synthetic_name(task)).parent / ".finished" for size in settings.sizes]
        if options.overwrite or not all(file.is_file() for file in marker):
            jobs.append((out, task, recipe, settings, options))
        else:
            for folder in (each for file in marker for each in file.parent.iterdir() if each.is_dir()):
                is_finished(folder, recipe)
    run_jobs(_synthesize, jobs, options.workers, tasks, "synthetic: templates", report)
    return sorted(
        folder.parent
        for size in settings.sizes
        for task in range(tasks)
        for folder in task_folder(out, size, _synthetic_name(task)).parent.glob("*/zarr.json")
    )


def _synthesize(out: Path, task: int, recipe: dict, settings: Standardization, options: Options) -> None:
    """All labels of one synthetic template."""
    made = synthetic_task(
        recipe["seed"], task, recipe["subjects"], max(settings.sizes), Settings.of(recipe["difficulty"])
    )
    subjects = np.arange(len(made.images))
    split_of = cut_cases("synthetic", subjects, options)
    cases = [
        standardize(RawCase(image[..., None], labels[None]), made.kept, ("other",), settings)
        for image, labels in zip(made.images, made.labels, strict=True)
    ]
    for size in settings.sizes:
        twin = None
        for place, label in enumerate(made.kept):
            planes = [case[size][place] for case in cases]
            data = TaskData(
                _synthetic_name(task, label),
                stored(np.stack([plane.image for plane in planes]), options.dtype),
                stored(np.stack([plane.mask for plane in planes]), options.dtype),
                subjects, tuple(str(part) for part in split_of), tuple(f"subject_{i:04d}" for i in subjects),
                settings.labels == "binary", recipe,
            )  # fmt: skip
            twin = write_task(out, data, twin)
        folder = task_folder(out, size, _synthetic_name(task)).parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".finished").touch()


def _synthetic_name(task: int, label: int = 0) -> TaskName:
    return TaskName("synthetic", f"template_{task:05d}", "2d", f"label_{label:02d}")
