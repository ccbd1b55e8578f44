"""ImageNet and a ResNet-50, by replicas that average every 8 steps, on the schedule of Goyal et al. 2017.

Run:      python -m experiments.local_sgd --config configs/local_sgd/imagenet_resnet50.py --config.data.root=DIR
Hardware: one accelerator a replica, 12 GB each, and 16 CPU cores to read images; DIR has train/<class>/<file> and
          val/<class>/<file>. On several machines the same command, started as the cluster starts it
Time:     never run on ImageNet: it prints seconds a step and hours in all before it trains
Expect:   never run on ImageNet; checkpoints every 600 steps, so that a stopped run goes on from there

90 epochs; the rate is 0.1 for 256 images and grows with the global batch, from the small rate over 5 epochs, and falls
to a tenth at 30, 60 and 80. Published runs have batch normalisation (--config.network.normalization=batch), whose
running statistics replicas combine when they average; without it there is no such question, so it is not the default.
Synchronous training is --config.single.arm=synchronous, slow momentum slowmo with --config.single.beta=0.5; another
number of replicas --config.replicas="(N,)". A table of arms at this size is as many runs, each in its own --workdir.
"""

from experiments import local_sgd


def get_config():
    config = local_sgd.get_config()
    config.task = "image_folder"
    config.data.name = "imagenet"
    config.folder = {"size": 224, "validation": 0.02, "threads": 0}
    config.network = {"kind": "resnet", "depth": 50, "width": 1.0, "normalization": "group"}
    config.augment = True
    config.arms = ("synchronous", "large_batch", "local", "slowmo", "control")
    config.periods = (8,)
    config.replicas = (8,)
    config.batch_size = 128
    config.length = "90 epochs"
    config.optimizer = {"name": "sgd", "schedule": "steps", "weight_decay": 1e-4, "momentum": 0.9, "nesterov": True}
    config.warmup = 5 / 90
    config.decay_at = (30 / 90, 60 / 90, 80 / 90)
    config.curve_points = 18
    config.evaluation_batch = 500
    config.target = 0.7
    config.single.wanted = True
    config.single.rate = 0.1
    config.single.base_batch = 256
    config.single.save_rounds = 75
    config.single.patience = 1800.0
    return config
