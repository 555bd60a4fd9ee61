"""CIFAR-100 baseline CNN: three conv blocks, 2,520,676 parameters, Adam at a constant rate, 20 epochs.

From the project "CIFAR-100 baseline CNN" (000). Its README gives no accuracy; its notebook shows 44.34 % (GPU) and
30.02 % (a local run). The author kept the epoch that was best on the test set. Here the last epoch is the result; a
best epoch is chosen only if `data.validation` holds images out.

    python -m engine.train --recipe baseline --data.root=DIR
"""

values = {
    "data.name": "cifar100",
    "data.mean": (0.5071, 0.4867, 0.4408),
    "data.std": (0.2675, 0.2565, 0.2761),
    "augment.policy": "baseline",
    "model.name": "baseline",
    "model.dropout": 0.5,
    "train.epochs": 20,
    "train.batch": 128,
    "optim.name": "adam",
    "schedule.name": "constant",
    "schedule.lr": 1e-3,
}
