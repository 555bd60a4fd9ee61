"""Every setting of a recipe: its type and range, default, unit and meaning, declared as fastargs sections.

A section may have a condition (schedule.name is onecycle). Otherwise its settings are refused, so that every setting
has an effect.
"""

from fastargs import Section
from fastargs.config import Config

from recipes.settings.checkers import Choice, Number, Pairs, Several, Stages, Text, Truth, Whole
from recipes.settings.moments import Epochs, Moment
from recipes.settings.setting import Condition, Setting, either, every, given, unless, when

DATASETS = ("cifar10", "cifar100", "folder", "shapes")
MODELS = ("baseline", "cnn", "cnn4", "resnet34", "sprint", "sprint_pairs", "torchvision", "timm")
SHARE = Number(0, 1)


def declare() -> Config:
    """A new fastargs Config with every setting of a recipe, without values."""
    config = Config()

    def section(name: str, title: str, condition: Condition | None = None) -> Section:
        return Section(name, title, config_descriptor=config).enable_if(condition)

    section("run", "the run folder").params(
        folder=Setting(Text(), "", "where the run's files go; empty: runs/<recipe>/<time>", "path"),
        report=Setting(Truth(), True, "draw the plots when the run ends"))
    section("data", "the data set and how it is fed").params(
        name=Setting(Choice(*DATASETS), "shapes", "the data set"),
        cache=Setting(Text(), "~/.cache/cadence", "folder for beton files", "path"),
        validation=Setting(Number(0, 0.9), 0.0, "share of the training set held out, stratified; 0 where a folder "
                           "val/ holds the validation images", "fraction"),
        feed=Setting(Choice("auto", "stream", "resident"), "auto",
                     "stream: beton, FFCV, device; resident: held and augmented on the device; auto: resident on a GPU "
                     "with room for it"),
        mean=Setting(Several(Number(0, 1), 3), (0.5, 0.5, 0.5), "subtracted, per channel", "of 0..1"),
        std=Setting(Several(Number(0, 1, above=True), 3), (0.25, 0.25, 0.25), "divided by, per channel", "of 0..1"))
    section("data", "data sets in files", when("data.name", "cifar10", "cifar100", "folder")).params(
        root=Setting(Text(), "data", "folder that holds the data set's files", "path"))
    section("data", "CIFAR", when("data.name", "cifar10", "cifar100")).params(
        download=Setting(Truth(), False, "fetch it with torchvision where it is absent"))
    section("data", "held-out samples", when("data.validation")).params(
        split_seed=Setting(Whole(0), 0, "which samples are held out"))
    section("data", "the stream feed", when("data.feed", "auto", "stream")).params(
        workers=Setting(Whole(0), 0, "loader threads; 0: one on a CPU run, all cores beside a GPU", "threads"),
        batches_ahead=Setting(Whole(1, 64), 3, "batches prepared before they are asked for", "batches"))
    section("data", "CIFAR-100", when("data.name", "cifar100")).params(
        labels=Setting(Choice("fine", "coarse"), "fine", "100 classes or 20 superclasses"))
    section("data", "sets of any size", when("data.name", "folder", "shapes")).params(
        resolution=Setting(Whole(8, 512), 32, "height and width of the images", "px"))
    section("data", "class folders", when("data.name", "folder")).params(
        float_max=Setting(Choice(1, 255), None, "white of floating-point images; unset: as all of them tell", "value"))
    section("data", "procedural shapes", when("data.name", "shapes")).params(
        classes=Setting(Whole(10, 100), 10, "classes"),
        train_count=Setting(Whole(100, 1_000_000), 10_000, "training images", "images"),
        test_count=Setting(Whole(100, 1_000_000), 2_000, "test images", "images"),
        shapes_seed=Setting(Whole(0), 0, "which images are drawn"))
    section("augment", "what happens to each training image").params(
        policy=Setting(Text(), "none", "a policy's name, or operations: crop(pad_px=4), flip()"))
    section("mix", "mixing images of a batch").params(
        p=Setting(SHARE, 0.0, "probability that a batch is mixed; 0: never", "probability"))
    section("mix", "mixing images of a batch", when("mix.p")).params(
        kind=Setting(Choice("cutmix", "mixup", "both"), "cutmix", "how"),
        smooth=Setting(Truth(), True, "label smoothing on mixed batches too"))
    section("mix", "CutMix", when("mix.kind", "cutmix", "both")).params(
        cutmix_alpha=Setting(Number(0, above=True), 1.0, "Beta distribution of CutMix's share"))
    section("mix", "MixUp", when("mix.kind", "mixup", "both")).params(
        mixup_alpha=Setting(Number(0, above=True), 1.0, "Beta distribution of MixUp's share"))
    section("mix", "one of the two", when("mix.kind", "both")).params(
        switch_p=Setting(SHARE, 0.5, "probability of CutMix rather than MixUp", "probability"))
    section("model", "the network").params(
        name=Setting(Choice(*MODELS), "cnn", "architecture"),
        weights=Setting(Text(), "", "start from these, with a new head: a file (.pt of a run, .pth, .safetensors) "
                                    "or, for torchvision and timm, the name of published ones", "path or name"))
    section("model", "dropout", when("model.name", "baseline", "cnn", "cnn4", "resnet34")).params(
        dropout=Setting(Number(0, 0.95), None, "before the last layers; unset: the network's own", "probability"))
    section("model", "residual blocks", when("model.name", "resnet34")).params(
        stochastic_depth=Setting(Number(0, 0.9), 0.0, "chance to skip the last block; less for others", "probability"))
    section("model", "the sprint family", when("model.name", "sprint", "sprint_pairs")).params(
        widths=Setting(Several(Whole(8, 1024), 3), (64, 256, 256), "channels of the three groups", "channels"),
        activation=Setting(Choice("gelu", "relu", "silu"), "gelu", "after each norm"))
    section("model", "sprint with residual pairs", when("model.name", "sprint_pairs")).params(
        inner=Setting(Several(Whole(1, 1024), 3), (64, 192, 512), "channels within each group's pair", "channels"))
    section("model", "sprint", when("model.name", "sprint")).params(
        convs=Setting(Whole(1, 4), 2, "convolutions of each group", "layers"),
        pool=Setting(Choice("max", "amax"), "max",
                     "before the head: of equal maxima the first gets the gradient (max), or each its share (amax, for "
                     "ReLU)"),
        norm_eps=Setting(Number(0, above=True), 1e-5, "added to the variances by the norms"),
        stem_bias=Setting(Choice("zero", "uniform"), "zero",
                          "where the first layer's bias starts; uniform: as torch's"))
    section("model", "networks of torchvision and timm", when("model.name", "torchvision", "timm")).params(
        arch=Setting(Text(80), "resnet50", "the network's name there"),
        stem=Setting(Choice("own", "small"), "own", "small, for 32 px: first convolution 3x3, no stride, no pooling"))
    section("model", "the cnn family", when("model.name", "cnn")).params(
        width=Setting(Whole(4, 1024), 32, "channels of the first layer; doubles at each stage", "channels"),
        depth=Setting(Whole(2, 12), 6, "convolutions", "layers"),
        kernel_px=Setting(Choice(1, 3, 5, 7), 3, "kernel size", "px"),
        norm=Setting(Choice("batch", "group", "none"), "batch", "normalisation after each convolution"),
        head=Setting(Choice("average", "flatten"), "average", "what is between convolutions and classes"))
    section("train", "the loop").params(
        stages=Setting(Stages(), (), "trained one after another, each with its rates, frozen layers and schedule"),
        batch=Setting(Whole(1, 65_536), 128, "images per step", "images"),
        accumulate=Setting(Whole(1, 1024), 1, "batches whose gradients are added before an update", "batches"),
        seed=Setting(Whole(0), 0, "of weights, order, augmentation, mixing and dropout"),
        repeats=Setting(Whole(1, 10_000), 1, "runs, each with the next seed, in one process", "runs"),
        sizes=Setting(Pairs(Moment(), Whole(8, 512)), {},
                      "progressive resolution: START:SIDE, the size of images from that epoch (from 0) or share of the "
                      "run (25%) on", "px"),
        label_smoothing=Setting(Number(0, 0.9), 0.0, "share of the target spread over all classes", "fraction"),
        clip_norm=Setting(Number(0), 0.0, "largest gradient norm, after unscaling; 0: no clipping"),
        precision=Setting(Choice("auto", "fp32", "bf16", "fp16"), "auto", "of the arithmetic"),
        device=Setting(Choice("auto", "cpu", "cuda"), "auto", "where the network is"),
        step=Setting(Choice("eager", "compile", "graph", "auto"), "auto",
                     "compile: forward and backward as fused kernels; graph: those, captured and replayed on a GPU; "
                     "auto: graph on a GPU, eager on a CPU"),
        threads=Setting(Whole(0, 1024), 0, "torch's CPU threads, at most the cores; 0: every core", "threads"),
        channels_last=Setting(Truth(), True, "memory layout of images and weights"),
        norms=Setting(Choice("auto", "torch"), "auto",
                      "batch norms. auto: with activation and max-pool as one operation, in eager steps of Cadence's "
                      "own networks on a CPU, where there is a C++ compiler; torch: torch's own"),
        sync_bn=Setting(Truth(), False, "under torchrun on GPUs: batch norms over the whole batch, not its blocks"),
        deterministic=Setting(Truth(), False, "only operations that give the same bits each time; slower on a GPU"),
        on_nan=Setting(Choice("stop", "skip", "rollback"), "stop",
                       "after a loss that is not finite or explodes; skip: leave its update out (each step waits for "
                       "the device); rollback: return to the last checkpoint and pass over its batch"),
        stop_at=Setting(SHARE, 0.0, "stop once the watched split's accuracy is this high; 0: never", "fraction"),
        patience=Setting(Whole(0), 0, "stop after so many epochs not better by eval.best_by; 0: never", "epochs"))
    section("train", "fp32", when("train.precision", "fp32")).params(
        tf32=Setting(Truth(), True, "GPUs may round the factors of fp32 products to TF32"))
    section("train", "length").params(
        epochs=Setting(Epochs(100_000), 10, "passes over the training set, the last may be a part; a recipe's stages, "
                                            "sizes and schedule follow in proportion", "epochs"))
    section("train", "early stopping", when("train.patience")).params(
        min_delta=Setting(Number(0), 0.0, "by how much eval.best_by must improve to count as better (shares: of 1)"))
    section("optim", "the optimiser").params(
        name=Setting(Choice("sgd", "adam", "adamw", "muon"), "sgd", "which"),
        weight_decay=Setting(Number(0), 0.0, "L2 in sgd and adam, decoupled in adamw"),
        decay_all=Setting(Truth(), True, "weight decay on norms and biases too"))
    section("optim", "a weight's decay in a step", when("optim.name", "sgd", "adamw", "muon")).params(
        decay_per=Setting(Choice("rate", "step"), "rate",
                          "rate: a step takes rate x weight_decay off a weight; step: one at the highest rate takes "
                          "weight_decay off it, whatever the rate of its part"))
    section("optim", "Muon", when("optim.name", "muon")).params(
        muon_for=Setting(Several(Text(200)), ("*",),
                         "patterns of weights to update, of two or more dimensions; optim.rest takes the others"),
        muon_scale=Setting(Choice("rms", "shape", "unit"), "rms",
                           "an update's size: rms as AdamW's; shape by rows over columns; unit with weights kept at "
                           "norm sqrt(rows)"),
        muon_iterations=Setting(Whole(1, 20), 5, "Newton-Schulz iterations of an update", "iterations"),
        rest=Setting(Choice("sgd", "adamw"), "adamw", "the optimiser of the other parameters"))
    section("optim", "SGD and Muon", when("optim.name", "sgd", "muon")).params(
        momentum=Setting(Number(0, 0.9999), 0.9, "momentum"),
        nesterov=Setting(Truth(), True, "Nesterov's form"))
    section("optim", "SGD beside Muon", when("optim.rest", "sgd")).params(
        rest_momentum=Setting(Number(0, 0.9999), 0.9, "momentum of the rest, in Nesterov's form"))
    adaptive = either(when("optim.name", "adam", "adamw"), when("optim.rest", "adamw"))
    section("optim", "Adam and AdamW", adaptive).params(
        beta1=Setting(Number(0, 0.9999), 0.9, "of the first moment"),
        beta2=Setting(Number(0, 0.99999), 0.999, "of the second moment"),
        eps=Setting(Number(0, above=True), 1e-8, "added to the denominator"))
    section("average", "averages of the weights").params(
        ema=Setting(Number(0, 0.99999), 0.0, "share of the average kept at each update; the average is evaluated; "
                                             "0: none", "fraction"),
        lookahead=Setting(Whole(0, 10_000), 0, "updates per step of a slow copy to the weights; 0: none", "updates"))
    section("average", "the exponential average", when("average.ema")).params(
        ema_every=Setting(Whole(1, 10_000), 1, "updates of the weights per update of the average", "updates"))
    section("average", "lookahead", when("average.lookahead")).params(
        lookahead_share=Setting(Number(0, 1, above=True), 0.5, "how far the slow copy goes", "fraction"))
    section("schedule", "the learning rate, step by step").params(
        name=Setting(Choice("onecycle", "constant", "cosine", "linear", "step"), "onecycle", "which"))
    section("schedule", "rates of one stage", unless("train.stages")).params(
        lrs=Setting(Pairs(Text(200), Number(0, above=True)), {}, "parts of the network (patterns), each with its "
                                                                 "highest rate, instead of one rate for all"))
    section("schedule", "parts that end early", every(unless("train.stages"), given("schedule.lrs"),
                                                      when("schedule.name", "onecycle", "cosine", "linear"))).params(
        ends=Setting(Pairs(Text(200), Moment()), {},
                     "patterns of schedule.lrs, each with the end of its own schedule, an epoch or a share of the run "
                     "(25%); frozen from then on"))
    section("schedule", "one rate for all", unless("train.stages", "schedule.lrs")).params(
        lr=Setting(Number(0, above=True), 0.1, "learning rate at its highest"))
    section("schedule", "one cycle", when("schedule.name", "onecycle")).params(
        pct_start=Setting(Number(0, 1, above=True), 0.3, "share of the steps in which it rises", "fraction"),
        div=Setting(Number(1), 25.0, "first rate = lr / div"),
        final_div=Setting(Number(1), 1e4, "last rate = first rate / final_div"),
        cycle_momentum=Setting(Truth(), True, "momentum (or beta1) falls while the rate rises"))
    section("schedule", "one cycle's momentum", when("schedule.cycle_momentum")).params(
        momentum_low=Setting(Number(0, 0.9999), 0.85, "momentum at the highest rate"),
        momentum_high=Setting(Number(0, 0.9999), 0.95, "momentum at both ends"))
    section("schedule", "cosine and linear", when("schedule.name", "cosine", "linear")).params(
        warmup_epochs=Setting(Number(0), 0.0, "linear rise from 0", "epochs"),
        final_fraction=Setting(SHARE, 0.0, "last rate = lr x this", "fraction"))
    section("schedule", "steps", when("schedule.name", "step")).params(
        milestones=Setting(Several(Whole(1)), (), "after which epochs the rate falls", "epochs"),
        gamma=Setting(Number(0, 1, above=True), 0.1, "by which factor", "factor"))
    section("eval", "validation and test").params(
        batch=Setting(Whole(1, 65_536), 500, "images per step", "images"),
        tta=Setting(Choice("none", "flip", "shifts"), "none",
                    "flip: average the predictions for an image and its mirror image; shifts: also both moved by 1 px"),
        watch=Setting(Choice("auto", "none"), "auto",
                      "evaluated after each epoch; auto: validation, or test where nothing is held out"),
        select=Setting(Choice("auto", "test", "none"), "auto",
                       "the best epoch is chosen on validation; test only to reproduce a published choice"))
    # Class folders may hold validation images: engine/build/splits.py looks.
    section("eval", "choosing an epoch", either(when("data.validation"), when("eval.select", "test"),
                                                when("data.name", "folder"))).params(
        best_by=Setting(Choice("top1", "top5", "loss", "ece"), "top1",
                        "which epoch is best (best.pt), and what train.patience looks at; loss and ece, the expected "
                        "calibration error: lower is better"))
    section("checkpoint", "what is kept").params(
        every=Setting(Whole(0), 0, "keep epoch_NNN.pt every this many epochs; 0: only last and best", "epochs"),
        every_minutes=Setting(Number(0, above=True), 10.0,
                              "last.pt this often, and with a best or kept epoch, at the end, at a signal", "minutes"))
    section("log", "trackers").params(
        to=Setting(Several(Choice("files", "tensorboard", "wandb", "trackio")), ("files",),
                   "files: the run folder, which is always written; the others (extras) too"))
    return config
