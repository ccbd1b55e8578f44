"""Four sources of uncertainty on the same images and metrics: dropout, an ensemble, a Bayesian hypernetwork, Tyche.

Beside them one pass without dropout, and the uninformative baseline for Tyche: smooth noise on the logit of that pass,
as diverse on the validation split as Tyche's candidates.

Run:      python -m experiments.uncertainty --config configs/uncertainty/compared.py --workdir runs/compared
Hardware: 2 CPU cores, 3 GB
Time:     12 minutes (beside other work, Intel Xeon; 7.4 minutes of processor time)
Expect:   5 seeds, 95 % intervals. AUROC of pixel errors in the band: ensemble .886, control .870, Tyche .861, spatial
          dropout .847, Bayesian hypernetwork .837. None separably beats the entropy of its own one pass (ensemble +.009
          [-.014, .031], Tyche +.058 [-.016, .132]); dropout, -.045 [-.078, -.012], and the control, -.030 [-.044,
          -.017], are worse than it. Each beats the distance to the boundary (by .093 to .121). Named contrasts:
          Bayesian - dropout -.011 [-.045, .024] and Tyche - control -.008 [-.024, .007] are not separable; in log
          likelihood the hypernetwork is worse than the ensemble, -.041 [-.051, -.032]. NLL: ensemble .053, control
          .065, one pass .073, dropout .074, Tyche .088, hypernetwork .095; Dice .798, .767, .773, .730, .669, .675.
          The hypernetwork has not collapsed: over z its parameters vary by .37 of their size, the logits by .40 of
          theirs; Dice .40 with delta = 0, .66 with one z. A draw costs 6.0 million multiply-accumulates, with the
          hypernetwork 7.2, with Tyche 52

At 150 steps and 32 x 32 pixels this shows the instrument and a small setting, and no order of the methods.
"""

from experiments import uncertainty


def get_config():
    config = uncertainty.get_config()
    config.arms = ("none", "spatial", "ensemble", "bayesian", "tyche", "noise")
    config.contrasts = (
        "error_detection: bayesian - spatial",
        "error_detection: tyche - noise",
        "likelihood: bayesian - ensemble",
    )
    config.data.shifts = ()
    config.draws = (5, 10)
    config.report_seeds = 5
    return config
