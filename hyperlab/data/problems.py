"""Problems of many files together: masks on several scales, and how a list of problems is shown."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hyperlab.data.readers.cases import Case, Problem, printable

Colour = tuple[int, int, int]
Colours = Mapping[int, Colour]
MOST_LABELS = 64  # more values without a declared map are instances, not classes
_MOST_GREYS = 8  # values that stand for classes as greys do, such as 0, 128, 255
_MANY = 4  # cases with one problem that become one line
_NAMED = 3  # of them, in that line
_SCALES = (20, 255)  # classes are counted from 1; grey values and 16-bit values stand for them up to 255 and beyond


def scale_problems(masks: Iterable[tuple[Case, Iterable[int]]]) -> list[Problem]:
    """Says which masks of a set give their labels on another scale than others: 0/1 in some and 0/255 in others.

    Args:
      masks: cases, and the label values that the mask of each holds.

    >>> from pathlib import Path
    >>> one, other = (Case(name, (), Path(f"{name}.png"), name) for name in "ab")
    >>> scale_problems([(one, [0, 1]), (other, [0, 255])])[0].what
    'masks are on 2 scales: 1 (a.png); 255 (b.png)'
    >>> scale_problems([(one, [0, 1]), (other, [0, 1, 255])])
    []
    """
    kinds: dict[int, list[tuple[str, list[int]]]] = {}
    for case, found in masks:
        inside = sorted(int(value) for value in found if value > 0)
        of_mask = {sum(value > top for top in _SCALES) for value in inside}
        if len(of_mask) > 1:
            return []  # labels of one map go from small to large
        for kind in of_mask:
            kinds.setdefault(kind, []).append((_mask_name(case) if case.index is None else case.name, inside))
    if len(kinds) < 2:
        return []
    shown = []
    for _, alike in sorted(kinds.items()):
        names = [name for name, _ in alike]
        labels = sorted({value for _, inside in alike for value in inside})
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        few = ", ".join(map(str, labels[:4])) + (", ..." if len(labels) > 4 else "")
        shown.append(f"{few} ({', '.join(names[:3])}{more})")
    what = f"masks are on {len(kinds)} scales: {'; '.join(shown)}"
    return [Problem("", what, "save all masks with the same values for the same labels")]


def colour_problems(masks: Iterable[tuple[Case, Colours | None]]) -> list[Problem]:
    """Says which masks with palettes show one label in two colours: a tool may order a palette anew in every file.

    Args:
      masks: cases, and the colours of the labels in the mask of each; None without a palette of colours.

    >>> from pathlib import Path
    >>> one, other = (Case(name, (), Path(f"{name}.png"), name) for name in "ab")
    >>> colour_problems([(one, {1: (9, 0, 0)}), (other, {1: (0, 0, 9)})])[0].what
    'label 1 is drawn in (9, 0, 0) in a.png and in (0, 0, 9) in b.png: their palettes differ'
    """
    first: dict[int, tuple[Colour, Case]] = {}
    for case, colours in masks:
        for label, colour in (colours or {}).items():
            known, where = first.setdefault(label, (colour, case))
            if known != colour:
                what = (
                    f"label {label} is drawn in {known} in {_mask_name(where)} and in {colour} in {_mask_name(case)}: "
                    "their palettes differ"
                )
                return [Problem("", what, "save all masks with one palette, or as whole numbers without any")]
    return []


def instance_problems(values: Iterable[int]) -> list[Problem]:
    """Says that masks without a declared map hold more values than classes have, or greys, by all values of a set.

    >>> instance_problems(range(9)), len(instance_problems(range(300)))
    ([], 1)
    """
    values = sorted(set(values))
    count = len(values)
    if count <= MOST_LABELS:
        # greys between 0 and 255 come from interpolation; classes are counted without gaps (255 is often "ignore")
        if count > _MOST_GREYS and values[-1] == 255 and values[:-1] != list(range(count - 1)):
            what = f"the masks hold {count} values up to 255; were they resampled with interpolation?"
            return [Problem("", what, "resample the original masks with the nearest neighbour", fatal=False)]
        return []
    what = f"the masks hold {count} values: are they maps of instances, or images?"
    return [Problem("", what, "for classes save 0, 1, 2, ...; where these are images, say which files are masks",
                    fatal=False)]  # fmt: skip


def grouped(problems: Sequence[Problem]) -> list[tuple[str, Problem]]:
    """Problems for a reader's eyes: one that many cases share is one line, with their number and the first of them.

    Returns:
      The case, or how many, and the problem whose text is to be shown, in the order of the first of each kind.

    >>> rows = grouped([Problem(f"c{i}", f"labels/c{i}.png is empty", "fill it") for i in range(12)])
    >>> [(who, problem.what) for who, problem in rows]
    [('12 cases', 'labels/c0.png is empty (c0, c1, c2 and 9 more)')]
    """
    alike: dict[tuple, list[Problem]] = {}
    for problem in problems:
        alike.setdefault(_kind(problem), []).append(problem)
    rows = []
    for same in alike.values():
        first, names = same[0], list(dict.fromkeys(problem.case for problem in same))
        if first.case and len(names) >= _MANY:
            pairs = ", each with another" if first.other else ""
            what = f"{first.what} ({', '.join(names[:_NAMED])} and {len(names) - _NAMED} more{pairs})"
            rows.append((f"{len(names)} cases", replace(first, what=what)))
        else:
            rows += [(problem.case, problem) for problem in same]
    return [(printable(who), replace(row, what=printable(row.what), fix=printable(row.fix))) for who, row in rows]


def _mask_name(case: Case) -> str:
    return case.name if case.label is None else case.label.name


def _kind(problem: Problem) -> tuple:
    """What two problems have in common that say the same of different cases: their texts, but for names and numbers."""
    names = sorted((problem.case, problem.other or ""), key=len, reverse=True)  # one may begin the other
    what, fix, *names = (re.sub(r"[\d.]+", "#", text) for text in (problem.what, problem.fix, *names))
    for name in filter(None, names):
        what, fix = what.replace(name, "@"), fix.replace(name, "@")
    return (problem.fatal, bool(problem.other), what, fix)
