"""Whom the cases of a set show: by a pattern that is given, or guessed from all names together."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from hyperlab.data.readers.cases import Layout, Problem, subject_of
from hyperlab.errors import DataError

_FEWEST_ALIKE = 3  # names with one stem, for which a question is worth a row
# what stands before a last number: a stem, what separates them, and perhaps a word such as `S` of `scan1_S012`
_STEM = re.compile(r"(.*[^-_ .(])[-_ .(]+([A-Za-z]{0,6})[-_ ]?\d+\)?")
_MARKED_STEM = re.compile(r"(.*\d)(s|sl|z|slice|frame)\d+", re.IGNORECASE)
# where a tile of a larger picture was cut: `_x0_y256`, `_r3_c1`
_TILE = re.compile(
    r"(.*[^-_ .(])[-_ .]+(?:(?:x|col|c)[-_]?\d+[-_ .]?(?:y|row|r)|(?:y|row|r)[-_]?\d+[-_ .]?(?:x|col|c))[-_]?\d+",
    re.IGNORECASE,
)
_SLICE_MARKS = ("s", "sl", "slc", "slice", "z", "frame")


def with_subjects(layout: Layout, pattern: str | None = None) -> Layout:
    """A layout whose cases know whom they show.

    A pattern goes before everything. Without one, a name says it by itself (`subject_of`), or the names together do:
    names that are alike up to a last number, such as `volume-1_003` and `volume-1_004`, are slices of one subject, if
    what they share has a number of its own (or the last number is marked as a slice's: `smith_S03`) and there are
    others. Where all names share one stem (`img_003`), each is a subject of its own.

    Args:
      layout: with cases whose subjects are what `subject_of` says.
      pattern: a regular expression, searched in each case's name; its first group is the subject.

    Returns:
      The layout with subjects, how they were found, and a row where the names leave it open.

    Raises:
      DataError: the pattern is no regular expression, has no group, or does not fit the name of a case.
    """
    names = [case.name for case in layout.cases]
    if pattern:
        subjects, whose = _by_pattern(names, pattern), f"by {pattern}"
        return replace(layout, cases=_given(layout, subjects), whose=whose)
    stem_of_name = slices_of(names)
    subjects = [stem_of_name.get(case.name, case.subject) for case in layout.cases]
    whose = layout.whose
    if stem_of_name:
        example = next(iter(stem_of_name.values()))
        whose += f" ({len(stem_of_name)} names are alike but for a last number, as those of {example!r})"
    problems = (*layout.problems, *_questions(layout, stem_of_name), *_nested(stem_of_name))
    return replace(layout, cases=_given(layout, subjects), problems=problems, whose=whose)


def slices_of(names: Sequence[str]) -> dict[str, str]:
    """The subjects of those names that are slices of one, judged by all names of a set.

    >>> slices_of(["volume-1_000", "volume-1_003", "volume-2_000", "volume-2_003"])["volume-2_003"]
    'volume-2'
    >>> slices_of(["img_000", "img_001", "img_002"]), slices_of(["benign (1)", "benign (2)", "normal (1)"])
    ({}, {})
    """
    numbered: dict[str, list[str]] = defaultdict(list)
    certain = set()
    for name in names:
        stem, mark = _stem(name)
        if not stem:
            continue
        numbered[stem].append(name)
        own = stem.rpartition("/")[2]  # a folder's name comes before, and several folders are no subjects
        if mark.lower() in _SLICE_MARKS or any(character.isdigit() for character in own):
            certain.add(stem)
    own_stems = {stem.rpartition("/")[2] for stem in numbered}
    if len(own_stems) == 1 and sum(map(len, numbered.values())) == len(names):
        return {}  # all in one subject would say nothing
    return {name: stem for stem, alike in numbered.items() if stem in certain and len(alike) > 1 for name in alike}


def _stem(name: str) -> tuple[str, str]:
    """What stands before a last number, and the word between; empty where the name itself says whom it shows."""
    if subject_of(name) != name:
        return "", ""
    folder, slash, own = name.rpartition("/")
    if tile := _TILE.fullmatch(own):
        return folder + slash + tile[1], "slice"
    found = _STEM.fullmatch(own) or _MARKED_STEM.fullmatch(own)
    return (folder + slash + found[1], found[2]) if found else ("", "")


def _questions(layout: Layout, known: dict[str, str]) -> list[Problem]:
    """A row where names of one folder share several stems without a number: subjects, or kinds of image?"""
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case in layout.cases:
        if case.name not in known:
            places[case.part, case.name.rpartition("/")[0]].append(case.name)
    for names in places.values():
        counts = Counter(stem for stem, _ in map(_stem, names) if stem)
        alike = {stem: count for stem, count in counts.items() if count >= _FEWEST_ALIKE}
        if len(alike) > 1:
            shown = ", ".join(f"{stem!r} ({count})" for stem, count in list(alike.items())[:4])
            what = f"names share what stands before a last number: {shown}; each case counts as a subject of its own"
            fix = (
                "where these are slices or frames of one subject, say so: --subjects '(.+)[-_ ]' "
                "(in Python subjects=..., in a study --config.data.subjects=...)"
            )
            return [Problem("", what, fix, fatal=False)]
    return []


def _nested(known: dict[str, str]) -> list[Problem]:
    """A row where the subjects themselves are alike but for a last number: `slide1_0_256` beside `slide1_256_0`."""
    wider = slices_of(sorted(set(known.values())))
    if not wider:
        return []
    first = next(iter(wider.values()))
    shown = ", ".join([repr(stem) for stem, one in wider.items() if one == first][:4])
    what = f"the subjects {shown} are alike but for a last number, too; each counts as a subject of its own"
    fix = (
        "where these are one, say so: --subjects '(.+?)[-_]\\d+[-_]\\d+$' (in Python subjects=..., in a study "
        "--config.data.subjects=...)"
    )
    return [Problem("", what, fix, fatal=False)]


def _by_pattern(names: Sequence[str], pattern: str) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"subjects {pattern!r} is no regular expression: {error}") from error
    if not compiled.groups:
        raise DataError(f"subjects {pattern!r} has no group; its first group names the subject, as in '(volume-\\d+)_'")
    found = {name: match[1] if (match := compiled.search(name)) else None for name in names}
    unfit = [name for name, subject in found.items() if subject is None]
    if unfit:
        raise DataError(
            f"subjects {pattern!r} does not fit the names of {len(unfit)} of {len(found)} cases, for instance "
            f"{unfit[0]!r}; every case needs a subject"
        )
    return [subject for name in names if (subject := found[name]) is not None]


def _given(layout: Layout, subjects: Sequence[str]):
    return tuple(replace(case, subject=subject) for case, subject in zip(layout.cases, subjects, strict=True))
