"""Is the epistemic map epistemic? More training images should lower it, blurred borders should leave it as it is.

Run:      python -m experiments.uncertainty --config configs/uncertainty/epistemic.py --workdir runs/epistemic
Hardware: 2 CPU cores, 3 GB
Time:     8.5 minutes (beside other work, Intel Xeon)
Expect:   5 seeds, 95 % intervals, nats. From a tenth to all of the training images the epistemic map of spatial
          dropout falls, -.063 [-.088, -.037], the ensemble's -.072 [-.116, -.028], as it should; the aleatoric one
          rises, +.064 [.047, .082]. From sharp to blurred borders (6 pixels) the aleatoric map rises, +.060 [.045,
          .076], as it should, and so does the epistemic one, +.072 [.029, .115], the ensemble's +.132 [.115, .149]:
          it does not tell uncertainty of the data from that of the network

Dropout at a fixed rate may fail this: nothing in it tells the network how much data it has seen.
"""

from experiments import uncertainty


def get_config():
    config = uncertainty.get_config()
    config.data.size = (48, 48)
    config.train_shares = (0.1, 0.25, 0.5, 1.0)
    config.data.borders = (0, 2, 4, 6)
    config.data.shifts = ()
    return config
