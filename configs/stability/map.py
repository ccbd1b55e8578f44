"""The map: rates x optimizers x laws of gamma x eleven arms, on digits with an MLP and a conv net. Nothing is tuned.

Run:      python -m experiments.stability --config configs/stability/map.py --workdir runs/map
Hardware: 2 CPU cores, 3 GB
Time:     of the MLP alone 27 min where other work took most of the machine, 14 min of processor time; of the conv net
          alone 14 min beside other work, with --config.report_seeds=3 --config.runs_per_program=1 (side by side its
          runs take longer than one after the other)
Expect:   of the MLP alone, 150 runs an arm, those that diverged and the median window of rates: no hypernetwork
          8 %, 6.7x; ordinary 43 %, 0x; encoding only 21 %, 0.5x; additive only 37 %, 0x; MIP 16 %, 6.5x; MIP with delta
          x 0.1 6 %, 17x; Bias-HyperInit 45 %, 0x; unit norm and scales from 0 19 %, 6.7x; fitted first 51 %, 0x;
          LayerNorm 59 %, 0x; RMS-scaled outputs 22 %, 0.5x. MIP is not the most stable: with delta x 0.1 it is better.
          Of the conv net alone, 3 seeds, 90 runs an arm: no hypernetwork 3 %, 3.2x; ordinary 47 %, 0x; encoding only
          23 %, 0.5x; additive only 42 %, 0x; MIP 24 %, 3x; MIP with delta x 0.1 7 %, 10x; Bias-HyperInit 46 %, 0x; unit
          norm and scales from 0 17 %, 6.7x; fitted first 51 %, 0x; LayerNorm 52 %, 0x; RMS-scaled outputs 28 %, 0x.
          With delta x 0.1 MIP is better here too, and so is unit norm with scales from 0
"""

from experiments import stability


def get_config():
    config = stability.get_config()
    config.map.laws = ("uniform", "gaussian_16", "log_uniform")
    config.arms = ("plain", "default", "encoding", "additive", "mip", "mip_scaled", "bias_hyperinit", "lora_start")
    config.arms += ("prefit", "layer_norm_after", "output_rms")
    config.contrasts = ()
    config.optimizers = ("sgd", "adam")
    config.rates = {"sgd": (0.01, 0.03, 0.1, 0.3, 1.0), "adam": (0.001, 0.003, 0.01, 0.03, 0.1)}
    config.report_seeds = 5
    config.hypernet.hidden = (16, 64)
    config.batch_size = 32
    config.evaluate_every = 10
    config.runs_per_program = 25  # five rates under five seeds
    return config
