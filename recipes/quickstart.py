"""Embedded procedural shapes, a small CNN: the whole engine in about a minute on two CPU cores.

Needs no network and no files; shows the output and files of a run.

    python -m engine.train --recipe quickstart
"""

values = {
    "data.name": "shapes",
    "data.validation": 0.1,
    "augment.policy": "crop(pad_px=2)",
    "model.name": "cnn",
    "model.width": 16,
    "model.depth": 4,
    "train.epochs": 6,
    "train.batch": 128,
    "train.label_smoothing": 0.1,
    "optim.name": "sgd",
    "optim.weight_decay": 5e-4,
    "schedule.name": "onecycle",
    "schedule.lr": 0.1,
}
