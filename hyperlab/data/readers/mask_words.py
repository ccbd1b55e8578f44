"""What names say: which words only masks have, which only images, and what stands before them."""

import re
from collections.abc import Iterable

# what may stand between an image's name and the ending of its mask: _mask, _gt, -seg, _1stHO, .labels and so on
_TAIL = re.compile(r"[-_. ]?\d?(?:st|nd|rd|th)?[A-Za-z]+\d?")
# words that only masks have, perhaps among others: _cp_masks, _mask_1, _seg_expert2
_WORD = re.compile(
    r"(?:[-_. ][^-_. ]+)*?[-_. ](?:masks?|seg|segm|segmentations?|labels?|gt|groundtruth|truth|annotations?|manual|ann|"
    r"\d(?:st|nd|rd|th)[A-Za-z]*)\d*(?:[-_. ]\(?[A-Za-z0-9]+\)?)*",
    re.IGNORECASE,
)
# words of images, which have nothing to say of what is in them
_IMAGE = r"(?:images?|imgs?|imaging|im|orig|original|raw|scan|volume|vol|ct|mri?|photo)"
_IMAGE_AT_END = re.compile(rf".+[-_. ]{_IMAGE}", re.IGNORECASE)
_BEFORE_A_WORD = re.compile(r"(.+)[-_. ][A-Za-z][A-Za-z0-9]*")
_AT_START = {
    "image": re.compile(rf"{_IMAGE}[-_ ]?(?=\d)", re.IGNORECASE),
    "mask": re.compile(r"(?:masks?|seg|segmentation|labels?|gt)[-_ ]?(?=\d)", re.IGNORECASE),
}
_NUMBER = re.compile(r"[-_ ]\(?\d+\)?")


def is_tail(text: str) -> bool:
    """Whether a mask's name may end so after the name of its image.

    >>> [is_tail(text) for text in ("", "_mask", "_2ndHO", "_mask_1", "_cp_masks", "_3", "_left_3")]
    [True, True, True, True, True, False, False]
    """
    return not text or bool(_TAIL.fullmatch(text)) or says_mask(text)


def says_mask(text: str) -> bool:
    """Whether a tail has a word that only masks have.

    >>> [says_mask(text) for text in ("_mask", "_1stHO", "_cp_masks", "_mask_1", "L", "_left")]
    [True, True, True, True, False, False]
    """
    return bool(_WORD.fullmatch(text))


def kin(stems: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Of each name that says it is a mask's, and whose image is not there: the names of other files that begin alike.

    BraTS keeps four channels of a case so, beside one mask.

    >>> kin(["a_flair", "a_t1", "a_t1ce", "a_seg", "b", "b_mask", "c_mask"])
    {'a_seg': ('a_flair', 'a_t1', 'a_t1ce')}
    """
    stems = sorted(stems)
    starts = {stem: start for stem in stems if (start := before_mask(stem))}
    known, with_mask = set(stems), set(starts.values())
    alike: dict[str, list[str]] = {}
    for stem in stems:
        found = _BEFORE_A_WORD.fullmatch(stem)
        if found and stem not in starts and stem not in with_mask:
            alike.setdefault(found[1], []).append(stem)
    return {
        mask: tuple(alike[start]) for mask, start in starts.items() if start not in known and start in alike
    }  # fmt: skip


def by_first_word(stems: Iterable[str]) -> dict[str, str]:
    """The image's name of each mask's, where both begin with a word for what they are, and go on alike with a number.

    >>> by_first_word(["volume-0", "volume-1", "segmentation-0", "label_7"])
    {'segmentation-0': 'volume-0'}
    """
    stems = sorted(stems)
    images = {stem[found.end() :]: stem for stem in stems if (found := _AT_START["image"].match(stem))}
    masks = {stem: stem[found.end() :] for stem in stems if (found := _AT_START["mask"].match(stem))}
    return {mask: images[rest] for mask, rest in masks.items() if rest in images}


def before_mask(stem: str) -> str:
    """What stands before the shortest tail that has a word of masks, or nothing.

    >>> before_mask("case_3_seg"), before_mask("case_3_seg_1"), before_mask("case_3")
    ('case_3', 'case_3', '')
    """
    return next((stem[:end] for end in range(len(stem) - 1, 0, -1) if says_mask(stem[end:])), "")


def says_image(stem: str) -> bool:
    """Whether a name ends with a word that only says that it is an image's.

    >>> says_image("case_3_image"), says_image("case_3_flair")
    (True, False)
    """
    return bool(_IMAGE_AT_END.fullmatch(stem))


def continues(tail: str, base: str) -> bool:
    """Whether a tail is another with a number after it, as `_mask_1` is after `_mask`."""
    return tail.startswith(base) and bool(_NUMBER.fullmatch(tail[len(base) :]))


def without_word(stem: str, kind: str) -> str:
    """A name without the word for what it is, `image` or `mask`, before a number.

    >>> without_word("volume-7", "image"), without_word("volume-7", "mask")
    ('7', 'volume-7')
    """
    found = _AT_START[kind].match(stem)
    return stem[found.end() :] if found else stem
