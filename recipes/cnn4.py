"""CIFAR-10 CNN from scratch: four conv blocks, 2,553,994 parameters, Adam at a constant rate, 60 epochs.

From the project "CIFAR-10 CNN from scratch" (004), which reports about 89 % test accuracy. The last epoch is the
result, there and here, although its notes call another epoch the best.

    python -m engine.train --recipe cnn4 --data.root=DIR
"""

values = {
    "data.name": "cifar10",
    "data.mean": (0.49139968, 0.48215827, 0.44653124),
    "data.std": (0.24703233, 0.24348505, 0.26158768),
    "augment.policy": "cnn4",
    "model.name": "cnn4",
    "model.dropout": 0.1,
    "train.epochs": 60,
    "train.batch": 128,
    "optim.name": "adam",
    "schedule.name": "constant",
    "schedule.lr": 1e-3,
}
