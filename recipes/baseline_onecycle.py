"""The baseline's network and epochs with SGD, OneCycle, CutMix and label smoothing instead of Adam at a constant rate.

    python -m engine.train --recipe baseline_onecycle --data.root=DIR
"""

from recipes import baseline

values = {
    **baseline.values,
    "mix.p": 0.5,
    "mix.kind": "cutmix",
    "train.label_smoothing": 0.1,
    "optim.name": "sgd",
    "optim.weight_decay": 5e-4,
    "schedule.name": "onecycle",
    "schedule.lr": 0.1,
}
