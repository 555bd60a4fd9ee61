"""Enhanced ResNet-34 for 32 px on CIFAR-100: [5, 5, 5, 5] blocks, 30,032,292 parameters, OneCycle over 200 epochs.

From the project "Enhanced ResNet-34" (003), which reports 75.14 % at epoch 165 (1.8 h on a T4): it evaluated the test
set after each epoch and stopped at 75 %; `eval.select=test` and `train.stop_at` reproduce that. Left out: "gradient
accumulation", which its README names and its code lacks. Its code sets no momentum range, so OneCycleLR's default
.85-.95 replaces the .9. Crop and affine are one resampling here: the affine can restore pixels that the crop removes.

    python -m engine.train --recipe resnet34 --data.root=DIR
"""

values = {
    "data.name": "cifar100",
    "data.mean": (0.5071, 0.4867, 0.4408),
    "data.std": (0.2675, 0.2565, 0.2761),
    "augment.policy": "resnet34",
    "mix.p": 0.3,
    "mix.kind": "cutmix",
    "mix.cutmix_alpha": 1.0,
    "mix.smooth": False,
    "model.name": "resnet34",
    "model.dropout": 0.3,
    "train.epochs": 200,
    "train.batch": 128,
    "train.label_smoothing": 0.1,
    "train.clip_norm": 1.0,
    "train.stop_at": 0.75,
    "optim.name": "sgd",
    "optim.weight_decay": 5e-4,
    "schedule.name": "onecycle",
    "schedule.lr": 0.1,
    "schedule.pct_start": 0.2,
    "schedule.div": 25.0,
    "schedule.final_div": 1000.0,
    "eval.select": "test",
    "checkpoint.every": 5,
}
