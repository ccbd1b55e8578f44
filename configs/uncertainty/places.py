"""Where to drop: encoder, bottleneck, decoder or everywhere, channels or activations, the whole curve over rates.

Run:      python -m experiments.uncertainty --config configs/uncertainty/places.py --workdir runs/places
Hardware: 2 CPU cores, 3 GB
Time:     12 minutes (Intel Xeon, idle)
Expect:   3 seeds (a look): nothing is separable. Error detection in the band, spatial - element-wise +.006 [-.042,
          .054]; spatial everywhere - in the bottleneck -.063 [-.222, .095]. Dice from .737 (spatial, bottleneck) to
          .799 (element-wise, decoder); no dropout .804
"""

from experiments import uncertainty


def get_config():
    config = uncertainty.get_config()
    config.data.size = (48, 48)
    where = ("encoder", "bottleneck", "decoder")
    config.arms = ("none", "spatial", "element", *(f"{kind}_{w}" for kind in ("spatial", "element") for w in where))
    config.dropout_rates = (0.1, 0.2, 0.3, 0.5)
    config.contrasts = (
        "error_detection: spatial - element",
        "likelihood: spatial - spatial_bottleneck",
        "error_detection: spatial - spatial_bottleneck",
    )
    config.report_seeds = 3
    return config
