"""The file with the search space: what it may hold, and which settings a trial gets."""

import json

import pytest

from engine.common.errors import EngineError
from engine.tuning.space import Choices, Span, choose, own_values, read_space
from recipes.settings.load import RecipeError, load

QUICK = load("quickstart")


@pytest.fixture
def file(tmp_path):
    def write(text, name="space.yaml"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


class Fixed:
    """A sampler's trial that chooses the highest value, or the choice whose index is `pick`."""

    def __init__(self, pick=-1):
        self.pick = pick

    def suggest_float(self, name, low, high, *, step, log):
        return high - 1e-7

    def suggest_int(self, name, low, high, *, step, log):
        return high

    def suggest_categorical(self, name, values):
        return values[self.pick]


def test_ranges_and_choices_are_read_in_the_schemas_order_from_nested_and_flat_files(file):
    nested = file("schedule: {lr: {low: 1e-2, high: 1, log: true}}\ntrain: {batch: {choices: [64, 128]}, "
                  "epochs: {low: 2, high: 8, step: 2}}\noptim: {nesterov: {choices: [true, false]}}\n")
    flat = file(json.dumps({"train.epochs": {"low": 2, "high": 8, "step": 2}, "train.batch": {"choices": ["64", 128]},
                            "schedule.lr": {"low": 0.01, "high": 1, "log": True},
                            "optim.nesterov": {"choices": [True, False]}}), "space.json")
    expected = (Choices("train.batch", ("64", "128")), Span("train.epochs", 2, 8, False, 2, True),
                Choices("optim.nesterov", ("true", "false")), Span("schedule.lr", 0.01, 1.0, True, None, False))
    assert read_space(nested, QUICK) == read_space(flat, QUICK) == expected


def test_the_length_of_a_recipe_with_stages_is_searched_too(file):
    pocket = load("pocket10")
    space = read_space(file("train.epochs: {low: 4, high: 12}"), pocket)
    chosen = choose(Fixed(), space, pocket)
    assert own_values(space, pocket) == {"train.epochs": 10} and chosen == {"train.epochs": 12}
    trial = load("pocket10", settings=chosen)
    assert [stage["epochs"] for stage in trial.values["train.stages"]] == [12]
    # 6 and 8.4 of 12.
    assert trial.values["train.sizes"] == {0: 20, 6: 24, 8: 32}


@pytest.mark.parametrize(("text", "message"), [
    ("", "names no setting"),
    ("schedule.lrr: {low: 1, high: 2}", "schedule.lrr is unknown; did you mean schedule.lr?"),
    ("optim.lr: {low: 1, high: 2}", "optim.lr is unknown; did you mean schedule.lr?"),
    ("train.epochs: {low: 2, high: 3}\ntrain: {epochs: {low: 2, high: 4}}", "train.epochs is given twice"),
    ("data.validation: {low: 0.1, high: 0.2}", "data.validation cannot be searched, as all trials must be"),
    ("eval.tta: {choices: [none, flip]}", "eval.tta cannot be searched"),
    ("train.seed: {low: 0, high: 9}", "train.seed cannot be searched"),
    ("schedule.lr: 0.1", "schedule.lr=0.1 must be {low, high}, optionally with log or step, or {choices: "),
    ("schedule.lr: {}", r"must be {low, high}"),
    ("schedule.lr: {low: 0.1}", "schedule.lr lacks high: give both ends"),
    ("schedule.lr: {low: 0.1, high: 0.1}", "low=0.1 must be below high=0.1"),
    ("schedule.lr: {low: 0, high: 1}", "schedule.lr.low=0 must be a number > 0"),
    ("schedule.lr: {low: .nan, high: 1}", "schedule.lr.low=nan must be a number"),
    ("optim.weight_decay: {low: 0, high: 1, log: true}", "low=0 must be above 0 with log"),
    ("schedule.lr: {low: 0.1, high: 1, log: true, step: 0.1}", "has both log and step"),
    ("schedule.lr: {low: 0.1, high: 1, step: 0.4}", "step=0.4 does not lead from low=0.1 to high=1"),
    ("schedule.lr: {low: 0.1, high: 1, logarithmic: true}", "logarithmic is unknown here"),
    ("schedule.lr: {low: 0.1, high: 1, log: 1}", "schedule.lr.log=1 must be true or false"),
    ("schedule.lr: {choices: [0.1, 1], low: 0.1}", "low is unknown here"),
    ("train.batch: {low: 1.5, high: 8}", "train.batch.low=1.5 must be a whole number"),
    ("train.batch: {choices: [64]}", "must be a list of two values or more"),
    ("train.batch: {choices: [64, 64.5]}", "train.batch.choices=64.5 must be a whole number"),
    ("train.batch: {choices: [64, '64']}", "a value is given twice"),
    ("optim.name: {low: 1, high: 2}", r"optim.name is not a number \(one of sgd"),
    ("optim.beta1: {low: 0.8, high: 0.9}", "optim.beta1 never has an effect here: it needs optim.name=adam|adamw"),
    ("model.arch: {choices: [a, b]}", "model.arch never has an effect here"),
    ("mix.p: {low: 0, high: 0.5}\nmix.kind: {choices: [mixup, both]}\naverage.ema_every: {low: 1, high: 5}",
     "average.ema_every never has an effect here: it needs average.ema above 0"),
])
def test_a_bad_space_is_refused_in_one_line(text, message, file):
    with pytest.raises((EngineError, RecipeError)) as caught:
        read_space(file(text), QUICK)
    assert message.replace("\\", "") in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_or_one_without_a_mapping_is_one_line(file, tmp_path):
    for path in (str(tmp_path / "absent.yaml"), file("- 1"), file("{", "x.json"), file("a: 1\na: 2")):
        with pytest.raises(RecipeError):
            read_space(path, QUICK)


def test_a_setting_is_chosen_only_where_it_applies(file):
    space = read_space(file("optim.name: {choices: [adamw, sgd]}\noptim.momentum: {low: 0.5, high: 0.9}\n"
                            "optim.beta1: {low: 0.8, high: 0.95}"), QUICK)
    assert choose(Fixed(0), space, QUICK) == {"optim.name": "adamw", "optim.beta1": 0.95}
    assert choose(Fixed(1), space, QUICK) == {"optim.name": "sgd", "optim.momentum": 0.9}


def test_a_setting_may_need_two_others_to_be_searched(file):
    text = "mix.p: {low: 0, high: 0.5}\nmix.kind: {choices: [mixup, cutmix]}\nmix.cutmix_alpha: {low: 0.5, high: 1}"
    assert [one.path for one in read_space(file(text), QUICK)] == ["mix.p", "mix.kind", "mix.cutmix_alpha"]
    with pytest.raises(EngineError, match="mix.kind never has an effect here"):
        read_space(file(text.partition("\n")[2]), QUICK)


def test_a_number_is_rounded_but_never_out_of_its_range(file):
    space = read_space(file("schedule.lr: {low: 0.01234561, high: 0.1234512}"), QUICK)
    assert choose(Fixed(), space, QUICK) == {"schedule.lr": 0.1234512}
    assert Span("schedule.lr", 0.5, 1.0, False, None, False).suggest(Fixed()) == 1.0


def test_whether_the_recipes_own_value_is_among_them():
    span = Span("schedule.lr", 0.1, 0.5, False, 0.2, False)
    assert [span.as_sampled(value) for value in (0.1, 0.3, 0.2, 0.7, None)] == [0.1, 0.3, None, None, None]
    batch = Choices("train.batch", ("64", "128"))
    assert batch.as_sampled(128) == "128" and batch.as_sampled(32) is None
    assert own_values((span, Choices("optim.beta1", ("0.1", "0.2"))), QUICK) == {"schedule.lr": 0.1}
