"""The folder that `predict` writes: what is in it, what it was made of, and what of it is finished already."""

import hashlib
from pathlib import Path
from typing import Any

from hyperlab import files
from hyperlab.errors import ConfigError, DamagedError, WorkdirError

RECORD = "predictions.json"


class Predictions:
    """The folder of one prediction.

    Its record names every file with its checksum and that of the image that it was made of, so that the same command
    goes on where it was interrupted; what it did not write is not written over.

    Args:
      folder: made if it is not there.
      settings: what determines the results, as JSON.

    Raises:
      ConfigError: the folder is a file, or was written with other settings, of which the first is named.
      WorkdirError: it cannot be written.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self.folder = folder
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"--out {folder} is a file, expected a folder")
        try:
            known = files.read_object(folder / RECORD)
        except DamagedError as error:
            raise ConfigError(f"{error}; or give another folder than --out {folder}") from error
        self._record: dict[str, Any] = known or {"settings": settings, "files": {}, "made_of": {}}
        for key, value in settings.items():
            before = self._record["settings"].get(key)
            if before != value:
                raise ConfigError(
                    f"{folder} was written with {key} {before!r}, now it is {value!r}; give another folder than --out"
                )

    def refuse_foreign(self, targets: list[Path]) -> None:
        """Refuses to write over what this command did not write, or what was changed since.

        Raises:
          ConfigError: which file, or two scans with one.
        """
        twice = next((target for target in targets if targets.count(target) > 1), None)
        if twice:
            raise ConfigError(f"two scans would share the output {twice}; give them different names")
        for target in targets:
            known = self._record["files"].get(self._name(target))
            if target.exists() and (target.is_dir() or _digest(target) != known):
                what = "was changed since this command wrote it" if known else "was not written by this command"
                raise ConfigError(
                    f"{target} is there and {what}; nothing is written over: choose another folder than --out"
                )

    def finished(self, case: str, sources: list[Path], targets: list[Path]) -> bool:
        """Whether all files of a scan are there, made of these very files."""
        return self._record["made_of"].get(case) == self._digests(sources) and all(map(Path.is_file, targets))

    def note(self, case: str, sources: list[Path], targets: list[Path]) -> None:
        """Writes down what was written of a scan."""
        self._record["made_of"][case] = self._digests(sources)
        self.seal(targets)

    def seal(self, targets: list[Path]) -> None:
        """Writes down that files are of this command."""
        self._record["files"] |= {self._name(target): _digest(target) for target in targets}
        files.write_json(self.folder / RECORD, self._record, sealed=True)

    def _name(self, target: Path) -> str:
        return str(target.relative_to(self.folder))

    def _digests(self, sources: list[Path]) -> list[str]:
        return [_digest(source) for source in sources]


def _digest(path: Path) -> str:
    """As `files.checksum` of the content, which is not held at once."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while part := file.read(2**20):
                digest.update(part)
    except OSError as error:
        raise WorkdirError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()
