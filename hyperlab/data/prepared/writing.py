"""A case and the end of a store on disk: each is there whole or not at all."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from hyperlab.data.chunked import write_array
from hyperlab.data.prepared.fingerprint import SetFingerprint
from hyperlab.data.prepared.preprocessing import Preprocessing
from hyperlab.data.prepared.store import AGAIN, FORM, STORE, VERSION, StoredCase, case_folder
from hyperlab.data.splits import fingerprint
from hyperlab.errors import WorkdirError
from hyperlab.files import PART, read_object, to_disk, write_json, writing

CHUNKS = {2: (128, 128), 3: (32, 32, 32)}  # 64 to 128 KB a channel: a patch reads little more than itself
_LEVEL = 1  # of zstd; level 5 takes twice as long for a twentieth less


def write_case(cases: Path, case: StoredCase, image: np.ndarray, labels: np.ndarray, places: np.ndarray) -> None:
    """Writes a case, whole or not at all.

    Args:
      cases: the folder of all of them.
      case: what is known of it; its checksums are made here.
      image, labels, places: see `Store`.

    Raises:
      WorkdirError: it cannot be written.
    """
    folder = case_folder(cases, case.number)
    partial = folder.with_name(f"{PART}{folder.name}")
    chunk = CHUNKS[labels.ndim]
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_array(partial / "image", image, (*chunk, image.shape[-1]), _LEVEL)
        write_array(partial / "labels", labels, chunk, _LEVEL)
        with writing(partial / "places.npy") as file:
            np.save(file, places)
        checksums = {"image": fingerprint(image), "labels": fingerprint(labels), "places": fingerprint(places)}
        write_json(partial / "case.json", {**case.to_json(), "checksums": checksums}, sealed=True)
        partial.rename(folder)
        to_disk(folder.parent)
    except Exception as error:  # tensorstore raises what its drivers pass on
        reason = " ".join(str(error).split())[:160]
        what = reason if isinstance(error, WorkdirError) else f"{folder} cannot be written ({reason})"
        raise WorkdirError(f"{what}; make room, and {AGAIN}: finished cases are kept") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def finish(
    folder: Path, preprocessing: Preprocessing, seen: SetFingerprint, count: int, recipe: dict[str, Any], source: Path
) -> None:
    """Writes `store.json` beside the folder of the cases: from then on these are the store, made of files of `source`.

    Raises:
      DamagedError: the description of a case was changed.
      WorkdirError: it cannot be written.
    """
    cases = [read_object(case_folder(folder, number) / "case.json", f"remove the case and {AGAIN}")
             for number in range(count)]  # fmt: skip
    content = {"preprocessing": preprocessing.to_json(), "set_fingerprint": seen.to_json(), "cases": cases}
    digest = fingerprint(np.array([case["checksums"][what] for case in cases if case for what in case["checksums"]]),
                         np.array(repr(preprocessing)))  # fmt: skip
    whole = {"form": FORM, "version": VERSION, "folder": folder.name, "recipe": recipe, "fingerprint": digest}
    whole["source"] = str(source)
    write_json(folder.parent / STORE, {**whole, **content}, sealed=True)
