"""Prepares a store of tasks for in-context segmentation from folders of images and masks.

    python -m hyperlab.data.build --source DIR [--source DIR ...] --out STORE
    python -m hyperlab.data.build --card NAME --source DIR --out STORE       # a public set; --cards lists them

Every image is standardised (grey, intensity clipping by modality, min-max, padding to a square, blur and resize); every
label is a task of its own. Volumes give planes. A build that was killed goes on where it was; other data sets in the
store stay. Exit code 0: done; 1: --verify found damage; 2: the input cannot be used.
"""

import argparse
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from hyperlab import seeds
from hyperlab.arguments import Parser
from hyperlab.data import cards
from hyperlab.data.in_context.building import DTYPES, Options, build
from hyperlab.data.in_context.building_synthetic import build_synthetic
from hyperlab.data.in_context.sources import SOURCES, open_source
from hyperlab.data.in_context.standardize import KINDS, LABELS, SLICINGS, Standardization
from hyperlab.data.in_context.store import StoredTask, TaskStore
from hyperlab.data.layouts import LAYOUTS
from hyperlab.errors import DataError, HyperlabError, MissingExtraError


class Progress:
    """Says what is done, with the time that is left: a line that moves in a terminal, a line now and then in a log."""

    def __init__(self, file=None, interval: float = 5.0):
        self._file = file or sys.stderr
        self._interval = interval if not self._file.isatty() else 0.2
        self._what, self._start, self._shown, self._first, self._calls = "", 0.0, 0.0, 0, 0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._start, self._shown, self._calls = what, now, 0.0, 0
        self._calls += 1
        if self._calls == 2:  # the start of the workers is no part of the rate
            self._start, self._first = now, done
        if done < total and now - self._shown < self._interval:
            return
        self._shown = now
        rate = (done - self._first) / (now - self._start) if self._calls > 2 and now > self._start else 0
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        end = "\r" if self._file.isatty() and done < total else "\n"
        print(f"{what} {done}/{total}{left}   ", end=end, file=self._file, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if not (given.source or given.synthetic or given.verify):
        print("nothing to do: give --source DIR, --synthetic COUNT, or --verify", file=sys.stderr)
        return 2
    start, progress, card = time.monotonic(), Progress(), None
    try:
        if given.card:
            card = cards.find(given.card)
            if len(given.source) != 1:
                raise DataError(
                    f"--card {card.name} goes with one --source DIR, the folder of that set. {card.arrange}"
                )
            parser.set_defaults(**_defaults(card))
            given = parser.parse_args(arguments)  # what is typed goes before what the card says
        settings = Standardization(
            tuple(given.sizes), given.slicing, tuple(given.planes), given.spacing or None, tuple(given.ct_window),
            tuple(given.mr_percentiles), given.labels,
        )  # fmt: skip
        options = Options(
            given.dtype, given.validation, given.test, given.split_seed, given.workers, given.overwrite
        )  # fmt: skip
        for root in given.source:
            name = given.name if len(given.source) == 1 else None
            source = open_source(root, given.layout, name, given.modality, given.masks, given.mask_suffix)
            build(cards.applied(card, source) if card else source, given.out, settings, options, progress)
        if given.synthetic:
            build_synthetic(
                given.out, given.synthetic, given.subjects, settings, options, seed=given.seed,
                difficulty=given.difficulty, report=progress,
            )  # fmt: skip
        found = given.verify and _verify(given.out)
        _summarize(given.out, time.monotonic() - start)
    except (HyperlabError, MissingExtraError) as error:
        print(error, file=sys.stderr)
        return 2
    return int(bool(found))


def stores(out: str | Path) -> list[TaskStore]:
    """The tasks under a folder, one store a size.

    Raises:
      DataError: there is none.
    """
    sizes = sorted(int(entry.name) for entry in Path(out).expanduser().glob("*") if entry.name.isdigit())
    return [TaskStore(out, size) for size in sizes] or [TaskStore(out)]


def _defaults(card: cards.Card) -> dict:
    """The options that a card stands for."""
    options: dict[str, Any] = {"layout": card.layout, "modality": card.modality, "name": card.name}
    if card.planes:
        options["planes"] = list(card.planes)
    if card.window:
        options["ct_window"] = list(card.window)
    return options


class _ListCards(argparse.Action):
    """Prints the cards and ends, as --help does."""

    def __call__(self, parser, namespace, values, option_string=None):
        rows: list[tuple[str, ...]] = []
        for card in map(cards.find, cards.names()):
            labels = ", ".join(card.labels.values())
            texts = (card.licence or "not known", card.url or "not known", card.arrange or "as they come")
            rows.append((card.name, card.title, card.layout, card.modality, card.anatomy, labels, *texts))
        _table(("card", "set", "layout", "modality", "anatomy", "labels", "licence", "address", "files"), rows)
        parser.exit()


def _verify(out: str) -> list[str]:
    found = [sentence for store in stores(out) for sentence in store.damage()]
    print("\n".join(found) if found else "every array is as it was written")
    return found


def _summarize(out: str, seconds: float) -> None:
    """What the store holds."""
    heads = ("size", "data set", "modality", "axis", "labels", "examples", "subjects", "train/validation/test",
             "annotators", "labelled", "MB")  # fmt: skip
    rows: list[tuple[str, ...]] = []
    total = 0.0
    for store in stores(out):
        groups: dict[tuple, list[StoredTask]] = defaultdict(list)
        for name in store:
            # templates of the synthetic set are many and alike
            key = (name.dataset, "all templates" if name.dataset == "synthetic" else name.modality, name.axis)
            groups[key].append(store[name])
        for key, tasks in groups.items():
            size = _megabytes(tasks)
            total += size
            rows.append((str(store.size), *key, *_described(tasks), f"{size:.1f}"))
        for unfinished in store.unfinished:
            print(f"{unfinished} was not finished; run the same command again")
    _table(heads, rows)
    print(f"{out}: {total:.1f} MB, {seconds:.0f} s")


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table in a terminal, tab-separated lines in a pipe."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*heads)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
    else:
        for row in (heads, *rows):
            print("\t".join(row))


def _described(tasks: list[StoredTask]) -> tuple[str, ...]:
    labels = sorted({task.name.label for task in tasks})
    shown = ", ".join(labels) if len(tasks) == len(labels) <= 6 else f"{len(tasks)} tasks"
    counts = sorted({len(task) for task in tasks})
    splits = {"/".join(str(int((task.splits == split).sum())) for split in ("train", "validation", "test"))
              for task in tasks}  # fmt: skip
    share = sum(float(task.shares.mean()) for task in tasks) / len(tasks)
    return (
        shown, "-".join(str(n) for n in {counts[0]: 0, counts[-1]: 0}), str(len(set(tasks[0].subjects.tolist()))),
        splits.pop() if len(splits) == 1 else "varies", str(tasks[0].annotators), f"{share:.3f}",
    )  # fmt: skip


def _megabytes(tasks: list[StoredTask]) -> float:
    files = {}
    for task in tasks:
        for path in task.folder.rglob("*"):
            if path.is_file():
                status = path.stat()
                files[status.st_ino] = status.st_size  # images that labels share are one file
    return sum(files.values()) / 1e6


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "data build", "hyperlab.data.build", description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--source", action="append", default=[], metavar="DIR", help="a folder of images and masks, or an archive")
    add("--out", required=True, metavar="STORE", help="the store; data sets are added to it")
    add("--card", metavar="NAME", help="a public set: layout, modality, labels, planes and window are its card's")
    add("--cards", action=_ListCards, nargs=0, help="list the cards and end")
    add("--layout", default="auto", choices=["auto", *SOURCES, *LAYOUTS], help="of the sources")
    add("--name", help="of the data set, where one source is given; by default the folder's")
    add("--masks", metavar="NAME", help="the folder of the masks, where several pair with the images")
    add("--mask-suffix", metavar="TAIL", help="of the masks that are meant, for instance _1stHO")
    add("--modality", choices=KINDS, help="decides how intensities are clipped; by default what dataset.json says")
    add("--sizes", type=int, nargs="+", default=[128], metavar="N", help="sides of the planes, in pixels")
    add("--slicing", default="maxslice", choices=SLICINGS, help="of volumes: the plane with most of a label, or middle")
    add("--planes", type=int, nargs="+", default=[0, 1, 2], metavar="AXIS", help="axes across which volumes are cut")
    add("--spacing", type=float, default=1.0, metavar="MM", help="to which volumes are resampled; 0: as they are")
    add("--ct-window", type=float, nargs=2, default=[-500.0, 1000.0], metavar=("LOW", "HIGH"), help="Hounsfield units")
    add("--mr-percentiles", type=float, nargs=2, default=[0.5, 99.5], metavar=("LOW", "HIGH"), help="of voxels above 0")
    add("--labels", default="soft", choices=LABELS, help="masks as blurring leaves them, or thresholded at 1/2")
    add("--dtype", default="uint8", choices=DTYPES, help="of what is stored")
    add("--validation", type=float, default=0.2, help="share of the subjects in the validation split")
    add("--test", type=float, default=0.2, help="share of the subjects in the test split")
    add("--split-seed", type=seeds.typed, default=0, help="another seed gives another partition")
    add("--synthetic", type=int, default=0, metavar="COUNT", help="synthetic templates to add")
    add("--subjects", type=int, default=100, help="images of each synthetic template")
    add("--difficulty", type=float, default=1.0, help="of synthetic tasks, 0 to 1 (the published ranges)")
    add("--seed", type=seeds.typed, default=0, help="of synthetic tasks")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes; 0: this one alone")
    add("--overwrite", action="store_true", help="replace tasks that were built with other settings")
    add("--verify", action="store_true", help="read every array and compare it with its checksum")
    return parser


if __name__ == "__main__":
    sys.exit(main())
