"""The cases of a folder: which files belong together, whose they are, and what is wrong with the folder."""

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from hyperlab.errors import DataError


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a case, and what to do about it.

    Attributes:
      case: the case's name, or "" where the whole folder is meant.
      what: what was found, with the file.
      fix: what to do.
      fatal: whether the folder cannot be trained on before it is mended.
      other: the other one, where two cases are meant.
    """

    case: str
    what: str
    fix: str
    fatal: bool = True
    other: str = ""


@dataclass(frozen=True)
class Case:
    """One image with its mask.

    Attributes:
      name: unique in its part.
      images: one file, or one for each channel.
      label: the mask's file, or None (test images often have none).
      subject: whom the image shows; cases of one subject share a split.
      part: `"train"` or `"test"`, as the folder has it.
      index: the place in an archive that holds many cases.
      more_labels: further masks of the same image, whose foreground is united with the label's.
      channels: how many the description of the set declares for all files of the image together, or None.
      spacing_files: JSON files with the spacing of the image and of the mask, as nnU-Net keeps beside TIFF files.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None
    subject: str
    part: str = "train"
    index: int | None = None
    more_labels: tuple[Path, ...] = ()
    channels: int | None = None
    spacing_files: tuple[Path | None, Path | None] = (None, None)


@dataclass(frozen=True)
class Layout:
    """What a folder holds.

    Attributes:
      kind: the name of the layout.
      root: the folder.
      cases: in the order of their names, training cases first.
      classes: the name of each declared label value; None where the folder declares none.
      problems: what is wrong with the listing itself; the files have not been opened.
      aside: files that are no images without a mask, though no case has them: a second mask that nobody asked for, an
        image whose mask has yet to be chosen, what a program keeps beside.
      whose: how the subjects were found, in words that follow their number.
    """

    kind: str
    root: Path
    cases: tuple[Case, ...]
    classes: dict[int, str] | None = None
    problems: tuple[Problem, ...] = field(default=())
    aside: tuple[Path, ...] = ()
    whose: str = "by their names"


# The first pattern that fits names the subject. Sides of one body, views, visits and slices are no subjects.
_SUBJECTS = (
    re.compile(r"(OAS\d_\d+)"),
    re.compile(r"(sub-[A-Za-z0-9]+)"),
    re.compile(r"((?:patient|subject|pat|subj)[-_ ]?\d+)", re.IGNORECASE),
    re.compile(r"(.*?\d+)[-_ ]?(?:L|R|left|right|OD|OS)$", re.IGNORECASE),
    re.compile(r"(.+?)[-_ ](?:slice|z|frame|visit|session|ses|scan|t)[-_ ]?\d+$", re.IGNORECASE),
)
_HIPPOCAMPUS = re.compile(r"hippocampus_(\d+)$")


def subject_of(name: str) -> str:
    """Guesses from a case's name whom it shows; a name that says nothing is its own subject.

    In the hippocampus set of the Medical Segmentation Decathlon, volumes 2k-1 and 2k are the two sides of
    one scan.

    >>> [subject_of(name) for name in ("Image_03L", "sub-07_ses-2_T1w", "hippocampus_003", "hippocampus_004", "wbc_12")]
    ['Image_03', 'sub-07', 'hippocampus scan 2', 'hippocampus scan 2', 'wbc_12']
    """
    hippocampus = _HIPPOCAMPUS.match(name)
    if hippocampus:
        return f"hippocampus scan {(int(hippocampus[1]) + 1) // 2}"
    found = (pattern.search(name) for pattern in _SUBJECTS)
    return next((match[1] for match in found if match), name)


def visible(folder: Path) -> list[Path]:
    """The entries of a folder in the order of their names; hidden ones and a missing folder give none."""
    if not folder.is_dir():
        return []
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error


def printable(text: str) -> str:
    r"""A text from a file's name or content, with what would steer a terminal written out.

    Control characters, line ends and what turns the direction of writing are escaped, and so are bytes of a name that
    are no text.

    >>> print(printable("case\x1b[31m_01"), printable("a\nb"), printable("Müller"))
    case\x1b[31m_01 a\nb Müller
    """
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNSAFE else character
        for character in text
    )


_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # of unicodedata: control, format, surrogate, line and paragraph separator
