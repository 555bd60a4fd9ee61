"""The baseline's network and epochs, with SGD, OneCycle, CutMix, label smoothing and less dropout.

    python -m engine.train --recipe baseline_onecycle --data.root=DIR
"""

from recipes import baseline

values = {
    **baseline.values,
    "mix.p": 0.25,
    "mix.kind": "cutmix",
    "model.dropout": 0.3,
    "train.label_smoothing": 0.1,
    "optim.name": "sgd",
    "optim.weight_decay": 5e-4,
    "schedule.name": "onecycle",
    "schedule.lr": 0.1,
}
