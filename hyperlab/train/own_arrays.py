"""Arrays that one process of several saves for itself, as an item of an orbax checkpoint.

Orbax (0.12.8) writes host arrays in process 0 alone, whatever its options say of a primary host: in any other one a
save ends well and holds nothing, see `findings/orbax_saves_nothing_of_other_processes.sh`. So they are one file of
`numpy`, in an item of a checkpoint that is otherwise orbax's own.
"""

from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from hyperlab.train.checkpoints import OWN_FILE, load_variables, save_variables


class OwnArrays(ocp.CheckpointHandler):
    """Saves and restores a tree of host arrays as one file."""

    def save(self, directory: Any, args: "OwnSave") -> None:
        """Writes the file in the folder of the item."""
        save_variables(Path(directory) / OWN_FILE, args.tree)

    def restore(self, directory: Any, args: "OwnRestore") -> Any:
        """Reads the file, on the structure of `args.like`."""
        return load_variables(Path(directory) / OWN_FILE, args.like)


@ocp.args.register_with_handler(OwnArrays, for_save=True)
class OwnSave(ocp.args.CheckpointArgs):
    """What is saved.

    Attributes:
      tree: of host arrays.
    """

    def __init__(self, tree: Any):
        self.tree = tree


@ocp.args.register_with_handler(OwnArrays, for_restore=True)
class OwnRestore(ocp.args.CheckpointArgs):
    """What is restored.

    Attributes:
      like: host arrays of the same shapes and dtypes.
    """

    def __init__(self, like: Any):
        self.like = like
