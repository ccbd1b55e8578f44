"""What training across tasks lives on: synthetic tasks, new tasks made from old ones, augmented examples.

Run:      python -m experiments.in_context --config configs/in_context/ablations.py --config.data.store=STORE
Hardware: 2 CPU cores, 3 GB; STORE as docs/own_data.md builds it, of seven data sets, at 32x32
Time:     22 minutes (Intel Xeon, beside other work)
Expect:   Dice of white blood cells, mean over nucleus and cytoplasm, 12 support images, 5 seeds: UniverSeg .69 (nearest
          support .61), less no synthetic tasks +.005 [-.023, .033], not separable; less no task augmentation +.392
          [.087, .697], better; less no augmentation at all +.253 [-.285, .791], not separable. The three ablations
          chose rates at an end of the grid, and at the high end some seeds find nothing: what is shown is that task
          augmentation makes this short training steady, not what it is worth in the end
With one tuning seed, and with nuclei and membranes to develop on, rates were chosen at which most seeds found nothing;
both were changed after that was seen, so the white blood cells have been read in three runs.
"""

from configs.in_context import held_out


def get_config():
    config = held_out.get_config()
    config.data.size = (32, 32)
    config.data.development = ("brain_t1_ptbp",)
    config.data.held_out = ("wbc",)
    config.network.widths = (8, 8, 8)
    config.support_sizes = (4, 12)
    config.ensembles = (1,)
    config.draws = 2
    config.arms = ("universeg", "no_synthetic", "no_task_augmentation", "no_augmentation")
    config.contrasts = tuple(f"universeg - {arm}" for arm in config.arms[1:])
    config.rates = (0.001, 0.003, 0.01)
    config.tuning_seeds = 3  # at high rates some seeds find nothing at all, and one seed would not show it
    config.report_seeds = 5
    config.train_length = "1500 steps"
    config.tuning_length = ""
    return config
