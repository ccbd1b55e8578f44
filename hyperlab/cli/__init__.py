"""The `hyperlab` command. Nothing heavy is imported here: `hyperlab --help` answers at once."""

from hyperlab.cli.command import main

__all__ = ["main"]
