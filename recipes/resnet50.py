"""ResNet-50 at 224 px on CIFAR-100, fine-tuned from ImageNet in three stages: head, upper layers, all layers.

From the project "ResNet-50 at 224 px, progressive fine-tuning" (001), which reports 84.35 % after 66 of 100 epochs
(15.5 h on a GTX 1650), stopped by patience 10 on the validation loss, which also chose its best epoch, 56. Kept, as the
result depends on it: batch norms of frozen layers follow the batches, OneCycleLR's momentum of .85-.95 replaces the .9,
and the third stage leaves out conv1 and bn1. Changed: its validation images were augmented like training images. Its
README names ImageNet's mean and deviation; its code and this recipe use CIFAR-100's. Offline, give
`--model.weights=PATH` of torchvision's file, or `--model.weights=` to train from scratch.

    python -m engine.train --recipe resnet50 --data.root=DIR
"""

values = {
    "data.name": "cifar100",
    "data.validation": 0.1,
    "data.mean": (0.5071, 0.4867, 0.4408),
    "data.std": (0.2675, 0.2565, 0.2761),
    "augment.policy": "resnet50",
    "mix.p": 1.0,
    "mix.kind": "both",
    "mix.cutmix_alpha": 0.8,
    "mix.mixup_alpha": 0.8,
    "mix.switch_p": 0.5,
    "model.name": "torchvision",
    "model.arch": "resnet50",
    "model.weights": "IMAGENET1K_V2",
    "train.stages": (
        {"name": "head", "epochs": 10, "lrs": {"fc": 1e-2}, "frozen": ("*",), "moving_statistics": True},
        {"name": "upper", "epochs": 15, "lrs": {"layer3": 5e-4, "layer4": 1e-3, "fc": 5e-3}, "frozen": ("*",),
         "moving_statistics": True},
        {"name": "all", "epochs": 75, "lrs": {"layer1": 5e-5, "layer2": 1e-4, "layer3": 3e-4, "layer4": 8e-4,
                                              "fc": 2e-3}, "frozen": ("conv1", "bn1"), "moving_statistics": True},
    ),
    "train.batch": 32,
    "train.label_smoothing": 0.1,
    "train.precision": "fp32",
    "train.patience": 10,
    "optim.name": "sgd",
    "optim.weight_decay": 5e-4,
    "schedule.name": "onecycle",
    "schedule.pct_start": 0.3,
    "eval.best_by": "loss",
}
