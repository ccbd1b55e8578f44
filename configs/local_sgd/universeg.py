"""UniverSeg, which segments by example, trained by replicas that rarely talk and scored on tasks that none has seen.

Run:      python -m experiments.local_sgd --config configs/local_sgd/universeg.py --workdir runs/local_universeg
Hardware: 2 CPU cores, 3 GB
Time:     about 3 minutes of processor time (Intel Xeon; 6:37 min beside work that took most of it)
Expect:   Dice of tasks that were held out, at H = 8 (an eighth of the bytes), 3 seeds (a look): synchronous .746, local
          .752, SlowMo .747; local - synchronous +.006 [-.103, .116] and SlowMo - local -.005 [-.052, .041], nothing is
          separable
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.task = "in_context"
    config.tasks.support = 4
    config.arms = ("synchronous", "local", "slowmo")
    config.contrasts = ("local - synchronous", "slowmo - local")
    config.parts = ()
    config.periods = (8,)
    config.replicas = (4,)
    config.optimizer.name = "adam"
    config.rates = (0.002, 0.02)
    config.trials = 3
    config.report_seeds = 3
    config.tuning_seeds = 1
    config.length = "96 steps"
    config.batch_size = 2
    config.in_turn = True
    config.evaluation_batch = 20
    config.target = 0.7
    return config
