"""The enhanced ResNet-34 at its best: 160 epochs of strong augmentation, CutMix and MixUp, and an average of weights.

The target is 82 % at the last epoch, without an earlier look at the test set.

    python -m engine.train --recipe best34 --data.root=DIR
"""

from recipes import resnet34

values = {
    **resnet34.values,
    "augment.policy": "crop(pad_px=4), flip(), trivial_wide(), erase(p=.25)",
    "mix.p": 0.8,
    "mix.kind": "both",
    "mix.mixup_alpha": 0.3,
    "mix.switch_p": 0.7,
    "mix.smooth": True,
    "model.dropout": 0.0,
    "model.stochastic_depth": 0.1,
    "train.epochs": 160,
    "train.batch": 256,
    "train.clip_norm": 0.0,
    "train.stop_at": 0.0,
    "optim.decay_all": False,
    "schedule.lr": 0.2,
    "schedule.pct_start": 0.04,
    "schedule.cycle_momentum": False,
    "average.ema": 0.9995,
    "eval.watch": "none",
    "eval.select": "none",
    "checkpoint.every": 0,
}
