"""Says what is wrong with a folder of images and masks before anything is trained on it.

    hyperlab data check DIR [--masks NAME] [--mask-suffix TAIL] [--subjects REGEX]

The layout is found by itself: nnU-Net, Medical Segmentation Decathlon, neurite-OASIS, CAMUS, an `.npz`
archive, folders of pairs, or IDX files. Every problem is a row: which case, what was found, what to do.
Images without a mask, beside others that have one, are counted and are no problem: they may be what is to be segmented.
Exit code 0: none was found; 1: some were; 2: the folder cannot be read.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperlab.arguments import Parser
from hyperlab.data.classification import mnist
from hyperlab.data.layouts import case_problems, depth_problems, detect
from hyperlab.data.problems import colour_problems, grouped, instance_problems, scale_problems
from hyperlab.data.readers.cases import Case, Layout, Problem, printable, visible
from hyperlab.data.readers.scan import is_readable, stem_of
from hyperlab.data.similarity import near_copies, thumbnail
from hyperlab.data.splits import fingerprint
from hyperlab.errors import DataError, HyperlabError, MissingExtraError

_TOGETHER = "keep them in one split (hyperlab.data.load does)"


@dataclass(frozen=True)
class Findings:
    """What a folder holds and what is wrong with it.

    Attributes:
      problems: the rows of the table.
      summary: what was read, in one sentence.
    """

    problems: list[Problem]
    summary: str


def check(
    root: str | Path, masks: str | None = None, mask_suffix: str | None = None, subjects: str | None = None
) -> list[Problem]:
    """Everything that is wrong with a folder.

    Looks for several files that may be the mask of an image, channels or image and mask of unequal geometry (shape,
    spacing, affine), labels outside the declared map, masks of one folder on several scales, non-finite voxels, files
    that a `dataset.json` names and that are missing, empty case folders, JPEG masks, damaged files, pictures of mixed
    bit depth or channel count; identical images and near-copies (also under different masks); cases and subjects that
    are in the training and in the test part.

    Args:
      root: the folder, or an `.npz` file.
      masks, mask_suffix: which folder, or which of several files of an image, is the mask, in a plain folder; see
        `hyperlab.data.readers.folders.list_folder`.
      subjects: a regular expression whose first group, in a case's name, says whom it shows.

    Raises:
      DataError: the folder is of no known layout; an option does not fit it.
      MissingExtraError: it holds NIfTI files and nibabel is not installed.
    """
    return examine(root, masks, mask_suffix, subjects).problems


def examine(
    root: str | Path, masks: str | None = None, mask_suffix: str | None = None, subjects: str | None = None
) -> Findings:
    """`check`, with a sentence about what was read."""
    root = Path(root).expanduser()
    if root.is_dir() and any(root.glob("*idx3-ubyte*")):
        if masks or mask_suffix or subjects:
            raise DataError(f"{root} holds IDX files; masks, mask_suffix and subjects are for images with masks")
        return _examine_idx(root)
    layout = detect(root, masks, mask_suffix, subjects)
    without = without_mask(layout)
    problems = [problem for problem in layout.problems if problem.case not in without] + depth_problems(layout)
    hashes: list[tuple[str, str]] = []
    thumbnails, read = [], []
    values: list[tuple[Case, list[int]]] = []
    coloured = []
    for case in layout.cases:
        found, image, mask = case_problems(case, layout.classes)
        problems += found
        if image is None:
            continue
        label_hash = "" if mask is None else fingerprint(mask.values)
        hashes.append((fingerprint(image.values), label_hash))
        finite = np.nan_to_num(np.asarray(image.values, np.float32), nan=0, posinf=0, neginf=0)
        thumbnails.append(thumbnail(finite))
        read.append(case)
        if mask is not None:
            values.append((case, np.unique(mask.values).tolist()))
            coloured.append((case, mask.colours))
    if layout.classes is None:
        problems += scale_problems(values)
        problems += instance_problems(value for _, inside in values for value in inside)
    problems += colour_problems(coloured)
    problems += _copies(read, hashes, thumbnails)
    problems += _subjects(layout)
    summary = _summary(layout, read, {value for _, inside in values for value in inside})
    if without:
        named = ", ".join([*sorted(without)[:3], *(["..."] if len(without) > 3 else [])])
        summary += f"; {len(without)} images without a mask ({printable(named)})"
    return Findings(problems, summary)


def without_mask(layout: Layout) -> set[str]:
    """The names of images of a plain folder that have no mask, where others have one."""
    labelled = [case for case in layout.cases if case.label is not None]
    if layout.kind != "folder" or not labelled:
        return set()
    known = {path for case in labelled for path in (*case.images, case.label, *case.more_labels)} | {*layout.aside}
    beside = {path.parent for case in labelled for path in case.images}
    found = {stem_of(path) for part in beside for path in visible(part) if is_readable(path) and path not in known}
    return found - {stem_of(path) for path in known if path is not None and path.parent in beside}


def _copies(cases: list[Case], hashes: list[tuple[str, str]], thumbnails: list[np.ndarray]) -> list[Problem]:
    """Images that occur twice, and pairs that are nearly one image."""
    problems = []
    same: dict[str, list[int]] = defaultdict(list)
    for place, (image, _) in enumerate(hashes):
        same[image].append(place)
    for places in same.values():
        first, *others = places
        for other in others:
            masks = "" if hashes[first][1] == hashes[other][1] else ", but their masks differ"
            problems.append(_pair(cases[first], cases[other], f"are one image{masks}"))
    # of volumes and planes together nothing can be compared
    lengths = {len(one) for one in thumbnails}
    for length in sorted(lengths):
        members = [place for place, one in enumerate(thumbnails) if len(one) == length]
        for i, j, correlation in near_copies(np.stack([thumbnails[place] for place in members])):
            a, b = members[i], members[j]
            known = cases[a].subject == cases[b].subject and cases[a].part == cases[b].part
            if hashes[a][0] != hashes[b][0] and not known:
                problems.append(_pair(cases[a], cases[b], f"are nearly one image (correlation {correlation:.3f})"))
    return problems


def _pair(a: Case, b: Case, what: str) -> Problem:
    if a.part == b.part:
        return Problem(a.name, f"{a.name} and {b.name} {what}", _TOGETHER, fatal=False, other=b.name)
    what = f"{a.name} ({a.part}) and {b.name} ({b.part}) {what}"
    return Problem(a.name, what, "take it out of the training part", fatal=False, other=b.name)


def _subjects(layout: Layout) -> list[Problem]:
    """Subjects with cases in both parts."""
    how = "guessed from the name" if layout.whose.startswith("by their names") else layout.whose
    parts: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for case in layout.cases:
        parts[case.subject][case.part].append(case.name)
    return [
        Problem(
            held["train"][0],
            f"subject {subject!r} ({how}) is in the training part ({', '.join(held['train'][:3])}) "
            f"and in the test part ({', '.join(held['test'][:3])})",
            "take the subject out of one of them",
            fatal=False,
        )
        for subject, held in parts.items()
        if len(held) > 1
    ]


def _summary(layout: Layout, read: list[Case], values: set[int]) -> str:
    parts = {part: sum(case.part == part for case in layout.cases) for part in ("train", "test")}
    subjects = len({case.subject for case in layout.cases})
    shown = ", ".join(map(str, sorted(values)[:8])) + (f", ... ({len(values)} values)" if len(values) > 8 else "")
    return (
        f"{printable(str(layout.root))}: {layout.kind} layout, {parts['train']} training and {parts['test']} "
        f"test cases, {len(read)} read, {subjects} subjects {printable(layout.whose)}, labels {shown or 'none'}"
    )


def _examine_idx(root: Path) -> Findings:
    """Copies inside and between the parts of an IDX set; its reader refuses the rest."""
    try:
        source = mnist(root)
    except DataError as error:
        return Findings([Problem("", str(error), "bring the four files of the set")], f"{root}: IDX files")
    groups, test = source.examples.groups, source.official_test
    assert test is not None  # MNIST and its kind have an official one
    leaked = ~test & np.isin(groups, groups[test])
    problems = [
        Problem(f"image {place}", f"training image {place} is identical to a test image",
                "take it out of the training part (hyperlab.data.load does)", fatal=False)
        for place in np.flatnonzero(leaked)
    ]  # fmt: skip
    labels = source.examples.labels
    for place in np.flatnonzero(groups != np.arange(len(groups))):
        if labels[place] != labels[groups[place]]:
            first = groups[place]
            what = f"images {first} and {place} are one image with the labels {labels[first]} and {labels[place]}"
            problems.append(Problem(f"image {place}", what, "find out which label is right", fatal=False))
    return Findings(problems, f"{root}: IDX files, {int((~test).sum())} training and {int(test.sum())} test images")


def _print(findings: Findings) -> None:
    """A table in a terminal, tab-separated lines in a pipe; what many cases share is one row."""
    print(findings.summary)
    rows = grouped(findings.problems)
    if not findings.problems:
        print("no problem was found")
        return
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table("case", "problem", "fix", show_lines=True)
        for who, problem in rows:
            table.add_row(*(cell.replace("[", r"\[") for cell in (who, problem.what, problem.fix)))
        Console().print(table)
    else:
        for who, problem in rows:
            print("\t".join(" ".join(cell.split()) for cell in (who or "-", problem.what, problem.fix)))
    fatal = sum(problem.fatal for problem in findings.problems)
    count = len(findings.problems)
    print(f"{count} problem{'s' * (count > 1)}, of which {fatal} must be mended before training")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = Parser("data check", "hyperlab.data.check", description=__doc__.splitlines()[0])
    parser.add_argument("root", metavar="DIR", help="a folder of images and masks, or an .npz archive")
    parser.add_argument("--masks", metavar="NAME", help="the folder of the masks, where several pair with the images")
    parser.add_argument("--mask-suffix", metavar="TAIL", help="of the masks that are meant, for instance _1stHO")
    parser.add_argument(
        "--subjects", metavar="REGEX", help=r"its first group, in a case's name, is the subject: '(volume-\d+)_'"
    )
    given = parser.parse_args(arguments)
    try:
        findings = examine(given.root, given.masks, given.mask_suffix, given.subjects)
    except (HyperlabError, MissingExtraError) as error:
        print("\n".join(map(printable, str(error).split("\n"))), file=sys.stderr)
        return 2
    _print(findings)
    return int(bool(findings.problems))


if __name__ == "__main__":
    sys.exit(main())
