"""One UniverSeg within an hour of two cores: developed on nuclei, tested once on white blood cells and retinal vessels.

Run:      python -m experiments.in_context --config configs/in_context/hour.py --config.data.store=STORE
Hardware: 2 CPU cores, 4 GB; STORE as docs/own_data.md builds it, of seven data sets at 64x64
Time:     32 minutes (beside much other work, 52 minutes of processor time, Intel Xeon)
Expect:   Dice, 12 support images, 1 seed (no claim about training), 95 % intervals over images. Nucleus of white blood
          cells: UniverSeg .880 [.860, .899], less nearest support +.184 [.160, .208], less a U-Net trained on the
          support set -.023 [-.044, .001]; cytoplasm .762 [.729, .793], +.210 [.171, .249], -.078 [-.108, -.051];
          retinal vessels .090, -.058, -.170: thin structures are not found at 64x64
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
