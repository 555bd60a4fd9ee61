"""The table of operations: what each parameter takes, where it ends, in which unit, and what it is if it is not given.

Written out from the documents and the papers' and torchvision's ranges, not read from the table.
"""

import re
from pathlib import Path

import pytest

from loaders.common.errors import DataError
from loaders.policy.operations import SPECS
from loaders.policy.policy import parse

# Kind, least, most and unit of a single value; for an interval whose pairs reach further, their ends too.
PROBABILITY, FACTOR = ("number", 0, 1, "probability"), ("interval", 0, 1, "factor", 0, 10)
OF_THE_IMAGE, OF_COVERS = "one of zero, mean, reflect", "one of zero, mean, noise"
TAKEN = {
    "crop": {"pad_px": ("int", 1, 512, "px"), "fill": OF_THE_IMAGE},
    "flip": {"p": PROBABILITY},
    "affine": {"rotate_deg": ("interval", 0, 180, "degrees clockwise", -180, 180),
               "translate": ("interval", 0, 1, "fraction of the size", -1, 1), "scale": ("interval", 0.1, 10, "factor"),
               "shear_deg": ("interval", 0, 80, "degrees, x", -80, 80), "fill": OF_THE_IMAGE},
    "perspective": {"distortion": ("number", 0, 0.6, "fraction of half the size"), "p": PROBABILITY,
                    "fill": OF_THE_IMAGE},
    "resize": {"px": ("int", 4, 512, "px")},
    "jitter": {"brightness": FACTOR, "contrast": FACTOR, "saturation": FACTOR,
               "hue": ("interval", 0, 0.5, "turns", -0.5, 0.5)},
    "gray": {"p": PROBABILITY},
    "blur": {"kernel_px": ("int", 3, 31, "px, odd"), "sigma": ("interval", 0.01, 20, "px")},
    "noise": {"sigma": ("interval", 0, 1, "fraction of full scale")},
    "solarize": {"threshold": ("interval", 0, 256, "grey levels")},
    "posterize": {"bits": ("int", 1, 8, "bits")},
    "sharpness": {"factor": ("interval", 0, 10, "factor")},
    "cutout": {"hole_px": ("int", 1, 512, "px"), "fill": OF_COVERS},
    "erase": {"p": PROBABILITY, "scale": ("interval", 0, 1, "fraction of the area"),
              "ratio": ("interval", 0.01, 100, "height / width"), "fill": OF_COVERS},
    "coarse_dropout": {"hole_px": ("int_interval", 1, 512, "px"), "holes": ("int_interval", 1, 7, "holes"),
                       "fill": OF_COVERS},
    "trivial_wide": {"fill": OF_THE_IMAGE},
    "rand_augment": {"n": ("int", 1, 7, "operations"), "magnitude": ("int", 0, 30, "of 30"), "fill": OF_THE_IMAGE},
    "flip_alternate": {}, "invert": {}, "equalize": {}, "autocontrast": {},
}
DEFAULTS = {
    "crop": {"fill": "zero"}, "flip": {"p": 0.5}, "perspective": {"distortion": 0.5, "p": 0.5, "fill": "zero"},
    "affine": {"rotate_deg": 0, "translate": 0, "scale": 1, "shear_deg": 0, "fill": "zero"}, "gray": {"p": 0.1},
    "jitter": {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}, "solarize": {"threshold": 128},
    "cutout": {"fill": "zero"}, "erase": {"p": 0.5, "scale": (0.02, 0.33), "ratio": (0.3, 3.3), "fill": "mean"},
    "coarse_dropout": {"holes": 1, "fill": "mean"}, "trivial_wide": {"fill": "zero"},
    "rand_augment": {"n": 2, "magnitude": 9, "fill": "zero"},
}
NEEDED = {"crop": {"pad_px": 2}, "resize": {"px": 64}, "blur": {"kernel_px": 3, "sigma": 1}, "noise": {"sigma": 0.1},
          "posterize": {"bits": 3}, "sharpness": {"factor": 2}, "cutout": {"hole_px": 3},
          "coarse_dropout": {"hole_px": 3}}
EACH = [(name, parameter) for name, taken in TAKEN.items() for parameter in taken]


def text_of(name, **arguments):
    given = NEEDED.get(name, {}) | arguments
    return f"{name}({', '.join(f'{key}={value}' for key, value in given.items())})"


def refusal(text):
    with pytest.raises(DataError) as caught:
        parse(text, 512, 512)
    return str(caught.value)


def words_of(taken, pair):
    """What an error says must be given."""
    if isinstance(taken, str):
        return taken
    kind, least, most, unit, *wider = taken
    if pair and kind == "interval":
        least, most = wider or (least, most)
        return f"(low, high), both from {least:g} to {most:g} ({unit}), low <= high"
    ends = f"from {least:g} to {most:g} ({unit})"
    return {"int": f"an integer {ends}", "int_interval": f"an integer or a pair (low, high), {ends}",
            "number": f"a number {ends}", "interval": f"a number {ends} or a pair (low, high)"}[kind]


@pytest.mark.parametrize("name, parameter", EACH)
def test_what_a_parameter_takes_is_told(name, parameter):
    for absurd, pair in (("'absurd'", False), ("(1, 2, 3)", True)):
        wanted = words_of(TAKEN[name][parameter], pair)
        assert refusal(text_of(name, **{parameter: absurd})) == f"{name}({parameter}={absurd}): {parameter} must be " \
                                                                f"{wanted}"


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("name, parameter", [each for each in EACH if each[1] != "fill"])
def test_both_ends_are_taken_and_nothing_beyond(name, parameter, pair):
    taken = TAKEN[name][parameter]
    kind, least, most, _, *wider = taken
    least, most = wider if pair and wider else (least, most)

    def told(low, high):
        return text_of(name, **{parameter: f"({low!r}, {high!r})" if pair else repr(high)})

    if pair and "interval" not in kind:
        assert refusal(told(most, most)).endswith(words_of(taken, pair))
        return
    for value in (least, most):
        try:
            operation = parse(told(value, value), 512, 512).operations[0]
            assert operation.value(parameter) in (value, (value, value))
        except DataError as error:
            # It was read, and does not fit the image, or has no effect.
            assert re.search("nothing|whole pixel|below the image height 512", str(error)), error
    step = 1 if "int" in kind.split("_") else 1e-6
    for value in (least - step, most + step):
        assert refusal(told(value, value)).endswith(words_of(taken, pair))
    if pair:
        assert refusal(told(most, least)).endswith(words_of(taken, pair))


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_not_given_is_as_documented(name):
    arguments = {"affine": {"rotate_deg": 5}, "jitter": {"hue": 0.1}}.get(name, {})
    operation = parse(text_of(name, **arguments), 64, 64).operations[0]
    expected = DEFAULTS.get(name, {}) | NEEDED.get(name, {}) | arguments
    assert dict(operation.arguments) == expected and list(TAKEN[name]) == [key for key, _ in operation.arguments]


@pytest.mark.parametrize("name", NEEDED)
def test_what_must_be_given_is_asked_for_with_its_unit(name):
    for parameter in NEEDED[name]:
        unit = TAKEN[name][parameter][3]
        rest = {key: value for key, value in NEEDED[name].items() if key != parameter}
        text = f"{name}({', '.join(f'{key}={value}' for key, value in rest.items())})"
        assert refusal(text) == f"{name}: {parameter} is needed, e.g. {name}({parameter}=...) in {unit}"


def test_the_documents_list_every_operation_with_its_parameters():
    text = (Path(__file__).resolve().parents[3] / "docs" / "augmentation.md").read_text("utf-8")
    rows = {kind: re.findall(r"`(\w+)\(([^)]*)\)`", row) for kind, row in
            re.findall(r"^\| (move pixels|change values|cover|choose) \|(.*)\|$", text, re.MULTILINE)}
    listed = {name: tuple(filter(None, words.split(", "))) for row in rows.values() for name, words in row}
    assert {name: tuple(taken) for name, taken in TAKEN.items()} | {
        "maybe": ("p", "..."), "one_of": ("p", "a", "b", "...")} == listed
    kinds = {"move": "move pixels", "photo": "change values", "cover": "cover", "macro": "choose", "wrapper": "choose"}
    for spec in SPECS:
        assert spec.name in [name for name, _ in rows[kinds[spec.kind]]]
    assert [spec.name for spec in SPECS if spec.kind == "wrapper"] == ["maybe", "one_of"]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_each_says_in_words_what_it_does_and_what_it_draws(spec):
    """The line for plans goes on after a colon; the contract is sentences."""
    assert spec.summary[0].islower() or spec.summary.startswith("Gaussian")
    assert not spec.summary.endswith(".") and spec.contract.endswith(".")
    assert not re.search("[A-Z]{5,}", spec.summary + spec.contract)
    assert re.search("[Dd]raw|[Ss]lot|255 - v|bit of", spec.contract), "what is drawn is said"
