"""CNN study on CIFAR-10 and CIFAR-100: 4 to 6 convolutions with batch norm; depth, width, kernel and dropout to vary.

The project "CIFAR-10 and CIFAR-100 CNN study" (002) is a specification: it lists the parts (SGD with momentum and a
schedule, crop, flip and colour jitter, weight decay, dropout, early stopping on validation loss or accuracy); what it
leaves open was chosen here. Its variants are settings: `--model.depth=4`, `--model.kernel_px=5`, `--model.dropout=0.3`,
`--model.width=128`.

    python -m engine.train --recipe cnn --data.root=DIR
    python -m engine.train --recipe cnn --data.name=cifar100 --data.root=DIR
"""

values = {
    "data.name": "cifar10",
    "data.validation": 0.1,
    "data.mean": (0.4914, 0.4822, 0.4465),
    "data.std": (0.2470, 0.2435, 0.2616),
    "augment.policy": "cnn",
    "model.name": "cnn",
    "model.width": 64,
    "model.depth": 6,
    "model.dropout": 0.1,
    "train.epochs": 60,
    "train.batch": 128,
    "train.patience": 15,
    "optim.name": "sgd",
    "optim.weight_decay": 5e-4,
    "schedule.name": "onecycle",
    "schedule.lr": 0.1,
    "eval.best_by": "loss",
}
