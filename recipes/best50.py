"""The ResNet-50 recipe's network and data in 12 epochs: all layers at once, each at its rate, mixed precision, an EMA.

The target is 87 % from ImageNet weights; the original reports 84.35 % after 66 epochs.

    python -m engine.train --recipe best50 --data.root=DIR
"""

from recipes import resnet50

values = {
    **{path: value for path, value in resnet50.values.items() if path != "eval.best_by"},
    "data.validation": 0.0,
    "augment.policy": "crop(pad_px=4), resize(px=224), flip(), trivial_wide(), erase(p=.25)",
    "mix.p": 0.5,
    "mix.cutmix_alpha": 1.0,
    "mix.mixup_alpha": 0.4,
    "train.stages": (
        {"name": "all", "epochs": 12, "lrs": {"conv1": 5e-3, "bn1": 5e-3, "layer1": 5e-3, "layer2": 1e-2,
                                              "layer3": 2e-2, "layer4": 4e-2, "fc": 1e-1}},
    ),
    "train.batch": 128,
    "train.precision": "auto",
    "train.patience": 0,
    "optim.weight_decay": 1e-4,
    "optim.decay_all": False,
    "schedule.cycle_momentum": False,
    "average.ema": 0.999,
}
