"""CIFAR-100, for 75 % in seconds on one GPU: residual pairs in a whitened network, Muon, 8.75 epochs of growing images.

After the CIFAR-100 speedrun's NAVIER-STOKED (github.com/AIDDA-Institute/CIFAR-100-speedrun: 75.19 % in 3.50 s on an
A100, mean of 40 runs, no averaging of predictions), with its numbers. What differs: an epoch trains on all images, with
a last batch of 848 (theirs leaves those out: 420 updates, here 429); the patches of the whitening keep their mean; the
first update has a small rate instead of none; and every random draw is another.

    python -m engine.train --recipe sprint100 --data.root=DIR --train.repeats=30
"""

values = {
    "data.name": "cifar100",
    "data.mean": (0.5071, 0.4865, 0.4409),
    "data.std": (0.2673, 0.2564, 0.2762),
    "augment.policy": "airbench",
    "model.name": "sprint_pairs",
    "model.widths": (64, 256, 768),
    "model.inner": (64, 192, 512),
    "model.activation": "silu",
    "train.epochs": 8.75,
    "train.batch": 1024,
    "train.sizes": {"0%": 20, "15%": 24, "50%": 32},
    "train.label_smoothing": 0.25,
    "optim.name": "muon",
    "optim.muon_for": ("groups",),
    "optim.muon_scale": "unit",
    "optim.muon_iterations": 3,
    "optim.momentum": 0.6,
    "optim.rest": "sgd",
    "optim.rest_momentum": 0.9,
    "optim.weight_decay": 5e-4,
    "optim.decay_all": False,
    "schedule.name": "linear",
    "schedule.lrs": {"head": 1.38, "stem": 1.38, "*.norm*": 1.38, "groups": 0.18},
    # A quarter of the run.
    "schedule.warmup_epochs": 2.1875,
    "eval.batch": 1024,
    "eval.watch": "none",
}
