"""What is unknown, of another type, out of range, without effect or in conflict is refused in one line."""

import pytest

from recipes.settings.load import load, restore
from recipes.settings.messages import RecipeError
from tests.recipes.settings.stages import ALL, HEAD, own


@pytest.mark.parametrize(("settings", "said"), [
    ({"train.epoch": "3"}, "train.epoch is unknown; did you mean train.epochs?"),
    ({"epochs": "3"}, "epochs is unknown; did you mean train.epochs? (--help"),
    ({"optim.lr": "3"}, "optim.lr is unknown; did you mean schedule.lr? (--help"),
    ({"model.batch": "3"}, "model.batch is unknown; did you mean train.batch or eval.batch? (--help"),
    ({"train.label-smoothing": "0.1"}, "did you mean train.label_smoothing?"),
    ({"train.wd": "0.1"}, "train.wd is unknown (--help"),
    ({"train.batch": "3.7"}, "train.batch=3.7 must be a whole number 1..65536"),
    ({"train.batch": 3.7}, "must be a whole number"),
    ({"train.batch": True}, "must be a whole number"),
    ({"train.batch": None}, "must be a whole number"),
    ({"train.epochs": "0"}, "train.epochs=0 must be a number above 0..100000"),
    ({"train.epochs": True}, "must be a number above 0"),
    ({"train.sizes": "1.5:16"}, "KEY a whole epoch >= 0 or a share of the run, 0%..100%"),
    ({"train.sizes": "101%:16"}, "a share of the run, 0%..100%"),
    ({"train.sizes": "100%:16"}, "train.sizes: 100% is never reached in train.epochs=20"),
    ({"train.sizes": "0:16,50%:20,10:24"}, "train.sizes: 50% and 10 are the same moment in train.epochs=20: keep one"),
    ({"train.channels_last": "False "}, "train.channels_last=False  must be true or false"),
    ({"train.channels_last": 1}, "must be true or false"),
    ({"schedule.lr": "nan"}, "must be a number > 0"),
    ({"schedule.lr": "inf"}, "must be a number > 0"),
    ({"schedule.lr": 0}, "must be a number > 0"),
    ({"data.mean": "0.5,0.5"}, "data.mean=0.5,0.5 must be 3 values with commas between"),
    ({"data.name": "mnist"}, "data.name=mnist must be one of cifar10, cifar100, folder, shapes"),
    ({"run.folder": "a\nb"}, "must be one line of text"),
    ({"optim.momentum": 0.9}, "optim.momentum=0.9 has no effect here: it needs optim.name=sgd"),
    ({"mix.switch_p": 0.5}, "it needs mix.kind=both"),
    ({"schedule.pct_start": 0.5}, "it needs schedule.name=onecycle"),
    ({"train.patience": 3}, "needs a validation set"),
    ({"eval.select": "test", "data.validation": 0.1}, "chooses on the test set though"),
    ({"eval.watch": "none", "train.stop_at": 0.5}, "eval.watch=none leaves none"),
    ({"data.split_seed": 4}, "it needs data.validation above 0"),
    ({"eval.best_by": "loss"}, "it needs data.validation above 0 or eval.select=test"),
    ({"eval.best_by": "f1", "data.validation": 0.1}, "eval.best_by=f1 must be one of top1, top5, loss, ece"),
    ({"eval.best_by": "loss", "data.validation": 0.1, "eval.watch": "none"}, "eval.best_by=loss has no effect, not"),
    ({"eval.best_by": "ece", "data.validation": 0.1, "eval.select": "none"}, "eval.best_by=ece has no effect, nothing"),
    ({"schedule.name": "step", "schedule.milestones": "4,2"}, "schedule.milestones=4,2 must be one or more rising"),
    ({"schedule.name": "step"}, "schedule.milestones= must be one or more rising epochs below train.epochs=20"),
    ({"schedule.name": "step", "schedule.milestones": "20"}, "below train.epochs=20"),
    ({"schedule.name": "cosine", "schedule.warmup_epochs": 60}, "schedule.warmup_epochs=60 must be below"),
    ({"checkpoint.every": 50}, "checkpoint.every=50 has no effect in train.epochs=20"),
    ({"optim.decay_all": False}, "optim.decay_all=false has no effect"),
    ({"mix.p": 0.5, "mix.smooth": False}, "mix.smooth has no effect"),
    ({"optim.name": "sgd", "optim.momentum": 0}, "optim.nesterov=true needs optim.momentum above 0"),
])
def test_a_bad_setting_is_one_line(settings, said):
    with pytest.raises(RecipeError) as caught:
        load("baseline", settings=settings)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_false_is_false():
    assert load("baseline", settings={"train.channels_last": "false"}).values["train.channels_last"] is False
    assert load("baseline", settings={"train.channels_last": "False"}).values["train.channels_last"] is False


@pytest.mark.parametrize(("changes", "said"), [
    ({"train.batch": -5}, "train.batch=-5 must be a whole number 1..65536"),
    ({"train.batch": 2.0}, "train.batch=2.0 must be a whole number"),
    ({"train.bach": 5}, "train.bach is unknown; did you mean train.batch? (--help lists every setting)"),
    ({"optim.momentum": 0.9}, "optim.momentum=0.9 has no effect here: it needs optim.name=sgd"),
    ({"train.patience": 3}, "train.patience=3 needs a validation set"),
    ({"schedule.name": "step"}, "schedule.milestones= must be one or more rising epochs below train.epochs=20"),
    ({"checkpoint.every": 50}, "checkpoint.every=50 has no effect in train.epochs=20"),
])
def test_a_change_is_checked_as_the_command_line_is(changes, said):
    recipe = load("baseline")
    for refused in (recipe.changed, lambda settings: load("baseline", settings=settings),
                    lambda settings: restore("baseline", recipe.values, settings)):
        with pytest.raises(RecipeError) as caught:
            refused(changes)
        assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "changes", "said"), [
    ("quickstart", own(train__stages=[HEAD], train__epochs=3), "train.epochs=3 is not the 2 epochs of the train.stages "
                                                               "beside it: leave one of them out"),
    ("quickstart", own(train__stages=[HEAD], schedule__lrs="*:1"), "it needs no train.stages"),
    ("quickstart", own(schedule__lrs="*:1", schedule__lr=0.1), "it needs no train.stages and no schedule.lrs"),
    ("quickstart", own(train__stages=[{**HEAD, "lr": 1}]), "stage 1 has lr"),
    ("quickstart", own(train__sizes="6:16"), "train.sizes: epoch 6 (from 0) is never reached in train.epochs=6"),
    ("quickstart", own(train__stages=[HEAD, ALL], train__sizes="5:16"), "is never reached in stages of 5 epochs"),
    ("quickstart", own(optim__beta2=0.9), "it needs optim.name=adam|adamw or optim.rest=adamw"),
    ("sprint10", own(optim__eps=1e-6), "it needs optim.name=adam|adamw or optim.rest=adamw"),
    ("sprint10", own(schedule__ends="stem.bais:3"), "schedule.ends: stem.bais is no pattern of schedule.lrs; did you "
                                                    "mean stem.bias?"),
    ("sprint10", own(schedule__ends="head:8"), "schedule.ends: head must end after the warm-up and before the run, not "
                                               "at epoch 8 of 8"),
    ("sprint10", own(schedule__ends="head:0%"), "not at epoch 0 of 8"),
    ("sprint10", own(schedule__warmup_epochs=4), "schedule.ends: stem.bias must end after the warm-up and before the "
                                                 "run, not at epoch 3 of 8"),
    ("sprint10", own(schedule__ends="head:3", schedule__name="constant"), "it needs no train.stages and schedule.lrs "
                                                                          "and schedule.name=onecycle|cosine|linear"),
    ("quickstart", own(schedule__ends="*:3"), "it needs no train.stages and schedule.lrs"),
    ("quickstart", own(optim__name="adam", optim__decay_per="step"), "it needs optim.name=sgd|adamw|muon"),
])
def test_settings_that_stages_or_other_modes_replace_are_refused(name, changes, said):
    with pytest.raises(RecipeError) as caught:
        load(name, settings=changes)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_adams_settings_count_beside_muon_too():
    changes = own(optim__name="muon", optim__muon_for="features", optim__beta2=0.9)
    assert load("quickstart", settings=changes).values["optim.beta2"] == 0.9
