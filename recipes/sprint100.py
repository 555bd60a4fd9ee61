"""CIFAR-100, for 75 % in seconds on one GPU: sprint10's network, wider and with residual groups, 14 epochs.

    python -m engine.train --recipe sprint100 --data.root=DIR --train.repeats=30
"""

from recipes import sprint10

values = {
    **{path: value for path, value in sprint10.values.items() if path != "schedule.ends"},
    "data.name": "cifar100",
    "data.mean": (0.5071, 0.4867, 0.4408),
    "data.std": (0.2675, 0.2565, 0.2761),
    "model.widths": (128, 384, 512),
    "model.convs": 3,
    "train.epochs": 14,
    "train.batch": 1000,
    "schedule.lrs": {"head": 1000.0, "*.bias": 53.0, "groups": 0.2},
    "train.sizes": {0: 24, 8: 28, 12: 32},
}
