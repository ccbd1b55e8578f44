"""White blood cells and retinal vessels, held out: developed on nuclei, trained on the other sets and synthetic tasks.

Run:      python -m experiments.in_context --config configs/in_context/held_out.py --config.data.store=STORE
Hardware: 2 CPU cores, 4 GB; STORE as docs/own_data.md builds it, of seven data sets at 64x64
Time:     about 6 hours (estimated from 0.13 to 0.3 s a step on idle cores)
Expect:   a question, not a number: not run as a whole. After 800 steps networks across tasks find few nuclei (Dice
          UniverSeg 0 to .19, prototypes .29 to .64) where U-Nets on the support set reach .76 to .85
"""

from experiments import in_context


def get_config():
    config = in_context.get_config()
    config.data.size = (64, 64)
    config.data.development = ("dsb2018_nuclei",)
    config.data.held_out = ("wbc", "chasedb1")
    config.data.generated = ("bodies", "shapes")
    config.network.widths = (16, 16, 16, 16)
    config.network.rival_widths = (16, 16, 16, 16)
    config.network.unet_widths = (16, 16, 16, 16)
    config.support_sizes = (1, 2, 4, 8, 12)  # the stained nuclei have 12 examples outside of their test split
    config.train_support = 8
    config.ensembles = (1, 2, 4, 8)
    config.draws = 3
    config.arms = ("universeg", "squeeze", "prototypes", "unet_support", "unet_task")
    config.rates = (0.001, 0.003, 0.01)
    config.report_seeds = 3
    config.train_length = "12000 steps"
    config.tuning_length = "2000 steps"
    config.task_length = "300 steps"
    return config
