"""The policy language: valid texts, refused texts with their errors, and the round trip from policy to text."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.common.errors import DataError
from loaders.policy.named_policies import POLICIES
from loaders.policy.operations import BY_NAME, SPECS
from loaders.policy.policy import check_mean_rgb, parse


@pytest.mark.parametrize("name", POLICIES)
def test_named_policies_read_back_from_their_canonical_text(name):
    policy = parse(name)
    assert parse(policy.text) == policy and hash(parse(policy.text)) == hash(policy)
    assert policy == parse(POLICIES[name])
    assert policy.output_px == (224 if name == "resnet50" else 32)


def test_named_policies_are_the_seeds_own_code():
    """What each author's code does, operation by operation, in the policy language."""
    assert {name: parse(name).text for name in POLICIES} == {
        # RandomCrop(32, padding=4), RandomHorizontalFlip()
        "baseline": "crop(pad_px=4), flip()",
        "cnn": "crop(pad_px=4), flip(), jitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)",
        # ... ColorJitter(.2, .2, .2, .05), RandomErasing(p=.25, scale=(.02, .15)), whose ratio is (.3, 3.3)
        "cnn4": "crop(pad_px=4), flip(), jitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05), "
                "erase(p=0.25, scale=(0.02, 0.15))",
        # Affine(translate 0 to 10 %, scale .85 to 1.15, rotate +-15, p .5), OneOf([CoarseDropout 8 to 16 px, GaussNoise
        # sigma .0125 to .0278], p .3)
        "resnet34": "crop(pad_px=4), flip(), maybe(0.5, affine(rotate_deg=15, translate=(0, 0.1), "
                    "scale=(0.85, 1.15))), one_of(0.3, coarse_dropout(hole_px=(8, 16)), noise(sigma=(0.0125, 0.0278)))",
        # Resize 224, ColorJitter(.3, .3, .3, .1), RandomGrayscale .2, flip, RandomRotation 15, RandomAffine(15,
        # translate .1), RandomPerspective(.5, p .2), GaussianBlur(3, .1 to .2), RandomErasing(p .3, scale .05 to .2)
        "resnet50": "resize(px=224), jitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1), gray(p=0.2), "
                    "flip(), affine(rotate_deg=15), affine(rotate_deg=15, translate=0.1), perspective(p=0.2), "
                    "blur(kernel_px=3, sigma=(0.1, 0.2)), erase(p=0.3, scale=(0.05, 0.2))",
        "airbench": "crop(pad_px=2, fill=reflect), flip_alternate()"}


def test_a_name_may_stand_inside_a_text():
    assert parse("airbench, cutout(hole_px=8)") == parse("crop(pad_px=2, fill=reflect), flip_alternate(), "
                                                         "cutout(hole_px=8)")


@pytest.mark.parametrize("text", ["", "none", "  "])
def test_no_augmentation(text):
    policy = parse(text)
    assert policy.text == "none" and policy.passes == () and policy.output_px == 32
    assert policy.describe() == ["none: the images are left as they are"]


@pytest.mark.parametrize("text, canonical", [
    ("crop( pad_px = 4 ),flip( p=.5 )", "crop(pad_px=4), flip()"),
    ("crop(pad_px=4, fill='mean')", "crop(pad_px=4, fill=mean)"),
    ("affine(scale=(1, 1.25), rotate_deg=15.0)", "affine(rotate_deg=15, scale=(1, 1.25))"),
    ("maybe(.25, flip(p=1), gray())", "maybe(0.25, flip(p=1), gray())"),
    ("jitter(hue=(-.1, .3)),", "jitter(hue=(-0.1, 0.3))"),
    ("jitter(hue=[-.1, .3])", "jitter(hue=(-0.1, 0.3))"),
    ("coarse_dropout(hole_px=4,\n holes=(1, 3))", "coarse_dropout(hole_px=4, holes=(1, 3))"),
])
def test_canonical_text(text, canonical):
    assert parse(text).text == canonical
    assert parse(canonical).text == canonical


@pytest.mark.parametrize("text, words", [
    ("crop(pad_px=40)", "crop(pad_px=40): pad_px must be below the image height 32"),
    ("crop(pad_px=4.5)", "pad_px must be an integer from 1 to 512 (px)"),
    ("crop(pad_px=True)", "pad_px must be an integer from 1 to 512 (px)"),
    ("crop()", "crop: pad_px is needed"),
    ("crap(pad_px=4)", "unknown operation 'crap'; did you mean crop?"),
    ("crop(pad=4)", "crop: unknown parameter 'pad'; did you mean pad_px?"),
    ("crop(pad_px=4, pad_px=4)", "is given twice; keep one"),
    ("crop(4)", "name the parameter, e.g. crop(pad_px=...)"),
    ("crop(pad_px=4, fill=blue)", "fill must be one of zero, mean, reflect"),
    ("crop", "write crop(...)"),
    ("bassline", "did you mean baseline?"),
    ("flip(p=1.5)", "flip(p=1.5): p must be a number from 0 to 1 (probability)"),
    ("flip(p=1e999)", "p must be a number from 0 to 1"),
    ("flip(p=[1])", "p must be a number from 0 to 1"),
    ("flip(p=+1)", "flip(p=+1): p must be a number from 0 to 1"),
    ("coarse_dropout(hole_px=(+4, 8))", "must be an integer or a pair (low, high), from 1 to 512 (px)"),
    ("flip(**a)", "unknown parameter 'None'"),
    ("flip(1)", "policy: flip(1): name the parameter, e.g. flip(p=...)"),
    ("invert(1)", "policy: invert(1): write invert()"),
    ("invert(p=1)", "invert: unknown parameter 'p'; it takes none"),
    ("gray(q=1)", "gray: unknown parameter 'q'; known: p"),
    ("jitter()", "it changes nothing"),
    ("jitter(brightness=(.3, .2))", "low <= high"),
    ("jitter(hue=.6)", "hue must be a number from 0 to 0.5 (turns) or a pair (low, high)"),
    ("affine()", "it moves nothing"),
    ("crop(pad_px=2, fill=mean), affine(rotate_deg=9)", "policy: crop, affine are sampled as one but fill differently "
     "(mean, zero); give each the same fill"),
    ("perspective(distortion=0)", "perspective(distortion=0): no corner of a 32x32 px image moves by a whole pixel"),
    ("cutout(hole_px=33)", "hole_px must be at most the image's shorter side 32"),
    ("coarse_dropout(hole_px=(8, 40))", "hole_px must be at most the image's shorter side 32"),
    ("coarse_dropout(hole_px=(8, 9.5))", "must be an integer or a pair (low, high), from 1 to 512 (px)"),
    ("blur(kernel_px=4, sigma=1)", "kernel_px must be odd"),
    ("maybe(.5)", "takes a probability and at least 1 operation(s)"),
    ("one_of(.5, flip())", "takes a probability and at least 2 operation(s)"),
    ("maybe(2, flip())", "maybe(p=2): p must be a number from 0 to 1"),
    ("maybe(.5, resize(px=64))", "all images must get the same size"),
    ("resize(px=64), resize(px=48)", "2 resize operations; keep one"),
    ("cutout(hole_px=4), resize(px=64)", "write it after resize"),
    ("maybe(1, " * 6 + "flip()" + ")" * 6, "nested deeper than 4"),
    ("flip(), " * 65, "more than 64 operations"),
    ("flip()" + " " * 10 + ", flip()" * 600, "at most 4000 are read"),
    ("flip(", "cannot be read"),
    ("flip(); flip()", "cannot be read"),
    ("(" * 300, "cannot be read"),
    # How deep the parser of syntax follows is the interpreter's affair; one line that shows the text it is always.
    ("flip(p=" + "-" * 3000 + "1)", "flip(p="),
    ("crop(pad_px=1" + "0" * 3900 + ")", "pad_px must be an integer"),
    ("\0", "cannot be read"),
    ("__import__('os').system('true')", "expected operations such as"),
    ("open('x')", "unknown operation 'open'"),
    ("[flip() for x in y]", "expected operations such as"),
    ("lambda: flip()", "expected operations such as"),
])
def test_mistakes_are_one_line_that_says_what_to_do(text, words):
    with pytest.raises(DataError) as caught:
        parse(text)
    message = str(caught.value)
    assert words in message and "\n" not in message and len(message) < 400


def test_what_cannot_be_read_is_said_by_the_parser_or_named():
    with pytest.raises(DataError, match=r"policy: 'flip\(' cannot be read \('\(' was never closed\); write e.g. "
                                        r"crop\(pad_px=4\), flip\(\)"):
        parse("flip(")


def test_the_longest_the_largest_and_the_deepest_text_are_read():
    digits = "1" * (4000 - len("noise(sigma=.)"))
    assert parse(f"noise(sigma=.{digits})").operations[0].value("sigma") == pytest.approx(1 / 9)
    assert len(parse("flip(), " * 64).operations) == 64
    deepest = "maybe(1, " * 4 + "flip()" + ")" * 4
    assert parse(deepest).text == deepest
    for text, words in ((f"noise(sigma=.{digits}1)", "policy: 4001 characters; at most 4000 are read"),
                        ("maybe(1, " * 5 + "flip()" + ")" * 5, r"policy: flip(...) is nested deeper than 4 wrappers"),
                        ("flip(), " * 65, "policy: more than 64 operations; write fewer")):
        with pytest.raises(DataError, match=re.escape(words)):
            parse(text)


def test_mistakes_quote_as_much_as_fits_a_line():
    for text, words in ((f"'{'ab' * 40}'", f"got ''{'ab' * 29}a'"),
                        (f"flip({'ab' * 40}", f"'flip({'ab' * 27}a' cannot"),
                        (f"flip(p={'ab' * 40})", f"flip(p={'ab' * 30}): p must")):
        with pytest.raises(DataError, match=re.escape(words)):
            parse(text)


@pytest.mark.parametrize("height, width", [(3, 32), (32, 3), (513, 32), (32, 513)])
def test_image_sizes_have_limits(height, width):
    with pytest.raises(DataError, match=f"images of {height}x{width} px: height and width must be from 4 to 512"):
        parse("flip()", height, width)
    assert parse("flip()", 4, 512).output_width == parse("flip()", 512, 4).output_height == 512


def test_limits_follow_the_image_size():
    assert parse("crop(pad_px=40)", 64, 64).operations[0].value("pad_px") == 40
    with pytest.raises(DataError, match="width 40"):
        parse("crop(pad_px=40)", 64, 40)


def test_the_description_is_in_the_order_of_execution():
    lines = parse("resnet50").describe()
    passes = [line for line in lines if line.startswith("pass")]
    assert [line.split()[2] for line in passes] == ["photo", "photo", "move", "cover"]
    assert "32x32 px -> 224x224 px" in passes[2] and "perspective (p=0.2)" in passes[2]
    assert "blur(kernel_px=3, sigma=(0.1, 0.2)): changes nothing, is not computed" in lines
    assert any("every other epoch" in line for line in parse("airbench").describe())


@pytest.mark.parametrize("text, size, lines", [
    ("crop(pad_px=4), flip(p=.25), maybe(.5, flip_alternate(), gray(p=.2)), flip_alternate()", (24, 40), [
        "pass 1: move at 40x24 px: crop, flip (p=0.25), flip (every other epoch, p=0.5), sampled once, outside: zero",
        "pass 2: photo at 40x24 px: gray (p=0.1)",
        "pass 3: move at 40x24 px: flip (every other epoch), sampled once, outside: zero"]),
    ("affine(rotate_deg=9, fill=mean), resize(px=64), erase(p=1), invert()", (32, 40), [
        "pass 1: photo at 40x32 px: invert",
        "pass 2: move at 40x32 px -> 64x64 px: affine, enlarge, sampled once, outside: mean",
        "pass 3: cover at 64x64 px: erase"]),
    ("resize(px=16), one_of(.3, invert(), equalize())", (32, 32), [
        "pass 1: shrink at 32x32 px -> 16x16 px: shrink", "pass 2: photo at 16x16 px: invert (p=0.15)",
        "pass 3: photo at 16x16 px: equalize (p=0.15)"]),
    ("trivial_wide()", (16, 20), [
        "pass 1: move at 20x16 px: affine (p=0.0714), affine (p=0.0714), affine (p=0.0714), affine (p=0.0714), affine "
        "(p=0.0714), sampled once, outside: zero",
        *(f"pass {number}: photo at 20x16 px: {name} (p=0.0714)" for number, name in enumerate(
            ("brightness", "saturation", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize"),
            2))])])
def test_each_pass_is_described_with_its_sizes_and_chances(text, size, lines):
    described = parse(text, *size).describe()
    assert [line for line in described if line.startswith("pass")] == lines
    assert len(described) == len(lines) + text.count("(") - text.count("=(")


def test_operations_are_described_as_written_and_what_never_acts_says_so():
    assert parse("maybe(0, invert()), flip(p=0), one_of(1, gray(p=1), invert())").describe()[:6] == [
        "maybe(0, invert()): all of its operations together with probability p, or none",
        "invert(): changes nothing, is not computed", "flip(p=0): changes nothing, is not computed",
        "one_of(1, gray(p=1), invert()): with probability p, one of its operations, each equally likely",
        "gray(p=1): makes the image gray with probability p", "invert(): inverts all values"]


def test_the_size_after_a_policy():
    for text, height, width in (("none", 20, 30), ("flip()", 20, 30), ("resize(px=24), gray()", 24, 24),
                                ("invert(), resize(px=64), erase()", 64, 64)):
        policy = parse(text, 20, 30)
        assert (policy.output_height, policy.output_width, policy.output_px) == (height, width, max(height, width))


@pytest.mark.parametrize("colour, good", [((0, 128, 255), True), ((0, 0), False), ((0, 0, 0, 0), False),
                                          ((-1, 0, 0), False), ((0, 0, 256), False)])
def test_the_mean_colour_is_three_numbers_of_a_byte(colour, good):
    if good:
        check_mean_rgb(colour)
        return
    with pytest.raises(DataError, match=f"mean_rgb={re.escape(str(colour))}: it must be three integers from 0 to 255"):
        check_mean_rgb(colour)


def argument(parameter):
    """Any value of a parameter's range, written as text."""
    if parameter.kind == "choice":
        return st.sampled_from(parameter.choices)
    if parameter.kind in ("int", "int_interval"):
        # Odd, as kernels must be.
        low, high = int(parameter.low), int(min(parameter.high, 15))
        return st.integers(low, high).map(lambda n: str(n | 1 if n | 1 <= high else n - 1))
    numbers = st.floats(max(parameter.low, -100), min(parameter.high, 100), allow_nan=False)
    if parameter.kind == "number":
        return numbers.map(repr)
    return st.tuples(numbers, numbers).map(lambda pair: repr(tuple(sorted(pair))))


@st.composite
def policy_texts(draw):
    parts = []
    names = [spec.name for spec in SPECS if spec.kind in ("photo", "cover", "macro")] + ["affine", "crop", "flip"]
    for name in draw(st.lists(st.sampled_from(names), max_size=4)):
        chosen = [p for p in BY_NAME[name].parameters if p.name != "fill"]
        arguments = ", ".join(f"{p.name}={draw(argument(p))}" for p in chosen)
        text = f"{name}({arguments})"
        if draw(st.booleans()):
            text = f"maybe({draw(st.floats(0, 1))!r}, {text})"
        parts.append(text)
    return ", ".join(parts)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(policy_texts())
def test_canonical_text_reads_back_as_the_same_policy(text):
    try:
        policy = parse(text)
    except DataError as error:
        # Values drawn apart can be neutral together; nothing else may be refused.
        assert "nothing" in str(error)
        return
    again = parse(policy.text)
    assert again == policy and again.passes == policy.passes and again.text == policy.text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text("cropflip_x(),=.15 -[]{}*'\n", max_size=40) | st.text(max_size=20))
def test_any_text_is_read_or_refused_with_one_line(text):
    try:
        parse(text)
    except DataError as error:
        assert "\n" not in str(error)


@pytest.mark.slow("starts a process")
def test_reading_a_policy_needs_neither_numba_nor_torch():
    code = ("import sys; from loaders.policy.policy import parse; parse('resnet50').describe(); "
            "assert not {'numba', 'torch', 'ffcv'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[3])


def test_half_of_a_blurs_kernel_is_below_the_images_shorter_side():
    parse("blur(kernel_px=7, sigma=1)", 4, 9)
    with pytest.raises(DataError, match=r"kernel_px=9.*its half below the image's shorter side 4"):
        parse("blur(kernel_px=9, sigma=1)", 9, 4)
