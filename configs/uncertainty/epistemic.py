"""Is the epistemic map epistemic? More training images should lower it, blurred borders should leave it as it is.

Run:      python -m experiments.uncertainty --config configs/uncertainty/epistemic.py --workdir runs/epistemic
Hardware: 2 CPU cores, 3 GB
Time:     not run as a whole yet
Expect:   a question, not a number: not run as a whole yet

Dropout at a fixed rate may fail this: nothing in it tells the network how much data it has seen.
"""

from experiments import uncertainty


def get_config():
    config = uncertainty.get_config()
    config.data.size = (48, 48)
    config.train_shares = (0.1, 0.25, 0.5, 1.0)
    config.data.borders = (0, 2, 4, 6)
    config.data.shifts = ()
    return config
