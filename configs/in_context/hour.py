"""One UniverSeg within an hour of two cores: developed on nuclei, judged once on white blood cells and retinal vessels.

Run:      python -m experiments.in_context --config configs/in_context/hour.py --config.data.store=STORE
Hardware: 2 CPU cores, 4 GB; STORE as the README builds it, of seven data sets at 64x64
Time:     about 25 minutes (estimated from 0.13 to 0.2 s a step; not run as a whole yet)
Expect:   a question, not a number: not run as a whole yet. After 750 steps nothing was found of fluorescent nuclei
"""

from configs.in_context import held_out


def get_config():
    config = held_out.get_config()
    config.arms = ("universeg", "unet_support", "unet_task")
    config.contrasts = ("universeg - unet_support",)
    config.rates = (0.001, 0.003)
    config.report_seeds = 1
    config.train_length = "10000 steps"
    config.tuning_length = "2000 steps"  # after fewer, nothing is found at any rate
    return config
