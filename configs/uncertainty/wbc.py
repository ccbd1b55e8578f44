"""White blood cells, cytoplasm and nucleus: three classes, few images, a set on which every network does well.

Run:      python -m experiments.uncertainty --config configs/uncertainty/wbc.py --config.data.root=DIR
Hardware: 2 CPU cores, 4 GB; DIR holds 'Dataset 1'
Time:     12 minutes (beside other work, Intel Xeon)
Expect:   5 seeds, 95 % intervals. Dice spatial - none -.007 [-.020, .007]; error detection in the band, spatial -
          element-wise .000 [-.041, .041]; independence -.068 [-.183, .047]: none separable. Epistemic map of spatial
          dropout over the entropy of one pass -.068 [-.122, -.013], worse; over the distance +.004 [-.032, .039]
"""

from experiments import uncertainty


def get_config():
    config = uncertainty.get_config()
    config.data.name = "wbc"
    config.data.size = (64, 64)
    config.data.shifts = ("size", "blur", "intensity", "noise")
    config.network.widths = (8, 16, 16, 16)
    config.train_length = "400 steps"
    return config
