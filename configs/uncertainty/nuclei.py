"""Nuclei in fluorescence microscopy: the whole curve over dropout rates, graded shifts, stained images beside them.

Run:      python -m experiments.uncertainty --config configs/uncertainty/nuclei.py --config.data.root=DIR
Hardware: 2 CPU cores, 4 GB; DIR holds images, labels and index.csv of the 2018 Data Science Bowl
Time:     36 minutes (beside other work, Intel Xeon; 42,900 training steps)
Expect:   5 seeds, 95 % intervals. Dice spatial - none +.002 [-.008, .011]; error detection in the band, spatial -
          element-wise +.017 [-.010, .044]; independence of feature maps, spatial - none +.006 [-.084, .096]: none
          separable. Whole image, AUROC of errors: distance to the boundary .93, entropy of one pass .97, epistemic
          map of spatial dropout .945, of the ensemble .966. In the band the epistemic map of spatial dropout is worse
          than the entropy of one pass, -.050 [-.082, -.018], the ensemble's not separable, +.002 [-.001, .006]
"""

from experiments import uncertainty


def get_config():
    config = uncertainty.get_config()
    config.data.name = "dsb2018_nuclei"
    config.data.size = (64, 64)
    config.data.kind = "fluo"
    config.data.other_kinds = ("colour",)  # shown, never scored: mean intensity alone tells them apart
    config.data.shifts = ("size", "blur", "intensity", "noise")
    config.data.severities = (1, 2, 3, 4, 5)
    config.network.widths = (8, 16, 16, 16)
    config.dropout_rates = (0.1, 0.2, 0.3, 0.5)
    config.train_length = "600 steps"
    config.tuning_length = "300 steps"
    config.draws = (5, 10, 20, 50)
    return config
