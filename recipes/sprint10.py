"""CIFAR-10, for 94 % in seconds on one GPU: a whitened network, Muon, 8 epochs of batches of 2,000.

After Jordan, cifar10-airbench (`airbench94_muon`: 94.01 % in 2.59 s on an A100, mean of 200 runs), with its numbers.
Its loss is a sum over the batch, ours a mean, so the rates of head and biases are multiplied by 2,000 here. What
differs: weights are fp32 and arithmetic is bf16 (theirs are fp16), and every random draw is another.

    python -m engine.train --recipe sprint10 --data.root=DIR --train.repeats=30
"""

values = {
    "data.name": "cifar10",
    "data.mean": (0.4914, 0.4822, 0.4465),
    "data.std": (0.2470, 0.2435, 0.2616),
    "augment.policy": "airbench",
    "model.name": "sprint",
    "model.widths": (64, 256, 256),
    "model.norm_eps": 1e-12,
    "model.stem_bias": "uniform",
    "train.epochs": 8,
    "train.batch": 2000,
    "train.label_smoothing": 0.2,
    "optim.name": "muon",
    "optim.muon_for": ("groups",),
    "optim.muon_scale": "unit",
    "optim.muon_iterations": 3,
    "optim.momentum": 0.6,
    "optim.rest": "sgd",
    "optim.rest_momentum": 0.85,
    "optim.weight_decay": 4e-3,
    "optim.decay_per": "step",
    "schedule.name": "linear",
    "schedule.lrs": {"head": 1340.0, "stem.bias": 106.0, "*.bias": 106.0, "groups": 0.24},
    # After three of the eight epochs; from then on no gradient reaches the largest images.
    "schedule.ends": {"stem.bias": "37.5%"},
    "eval.batch": 2000,
    "eval.tta": "shifts",
    "eval.watch": "none",
}
