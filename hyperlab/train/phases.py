"""The two phases of a study, the seeds of each, and the file that lies between them.

Choices are made on tuning seeds, which count from 0, and the validation split; what is reported comes from fresh seeds
and the test split.
"""

from typing import Any

TUNE, REPORT = "tune", "report"
FIRST_REPORT_SEED = 100
CHOICES = "choices.json"
MADE_BY = "choices_of"  # the seal's key of the config that the choices were made by


def report_seeds(config: Any) -> range:
    """The fresh seeds that a study with this config reports.

    >>> list(report_seeds({"report_seeds": 2}))
    [100, 101]
    """
    return range(FIRST_REPORT_SEED, FIRST_REPORT_SEED + config["report_seeds"])
