"""What a seed may be: as many as random keys tell apart."""

import argparse
from typing import Any

import numpy as np

from hyperlab.errors import ConfigError

LARGEST = 2**32 - 1  # jax.random.key keeps 32 bits of a seed: beyond them two seeds would draw alike


def check_seed(seed: Any, name: str = "seed") -> int:
    """A seed as it was given, if its draws are its own.

    Args:
      seed: a whole number from 0 to `LARGEST`.
      name: what the seed is called where it was given, for messages.

    Returns:
      The seed.

    Raises:
      ConfigError: it is no whole number, or does not fit 32 bits.

    >>> check_seed(3)
    3
    >>> check_seed(2**32)
    Traceback (most recent call last):
    hyperlab.errors.ConfigError: seed is 4294967296, expected a whole number from 0 to 4294967295
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= LARGEST:
        raise ConfigError(f"{name} is {seed!r}, expected a whole number from 0 to {LARGEST}")
    return int(seed)


def typed(text: str) -> int:
    """A seed as it was typed: the `type` of an option of a command line.

    Raises:
      argparse.ArgumentTypeError: it is none; see `check_seed`.

    >>> typed("7")
    7
    """
    try:
        return check_seed(int(text), "the seed")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number from 0 to {LARGEST}") from None
