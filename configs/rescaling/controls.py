"""What reviewers asked for, on procedural shapes: longer Fixed networks, SSHN at one factor, narrower networks, zoom.

Run:      python -m experiments.rescaling --config configs/rescaling/controls.py --workdir runs/controls
Hardware: 2 CPU cores, 3 GB
Time:     about a quarter of an hour (estimated from the default's step; not run as a whole yet)
Expect:   a question, not a number: this config has been run shrunk alone, so nothing is known of its outcome
"""

from experiments import rescaling


def get_config():
    config = rescaling.get_config()
    config.arms = (
        "fixed",
        "sshn",
        "constant",
        "fixed_2x",
        "fixed_4x",
        "fixed_zoom",
        "width",
        "sshn_cos",
        "sshn_direct",
    )
    config.contrasts = ("sshn - fixed", "sshn - constant", "sshn - fixed_4x")
    config.tuning_seeds = 1
    config.report_seeds = 5
    return config
