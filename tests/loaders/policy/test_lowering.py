"""Operations to passes: runs of moves, gates, the order with an enlarging resize, and operations that are left out."""

import dataclasses
import math

import pytest
import torch

from loaders.policy import weight_tables
from loaders.policy.passes import ALTERNATE_SLOT, NOISE_MEAN, NOISE_UNIT, Gate, Range, jitter_orders
from loaders.policy.policy import Policy, parse


def kinds(text, *size):
    return [(pass_.kind, [op.opcode for op in pass_.ops]) for pass_ in parse(text, *size).passes]


def test_consecutive_moves_are_one_pass():
    assert kinds("crop(pad_px=4), flip(), affine(rotate_deg=9), gray(), crop(pad_px=1)") == [
        ("move", ["crop", "flip", "affine"]), ("photo", ["gray"]), ("move", ["crop"]),
    ]


def test_enlarging_puts_photo_ops_first_and_covers_last():
    policy = parse("resize(px=64), erase(), jitter(hue=.1), crop(pad_px=8), invert()")
    assert [pass_.kind for pass_ in policy.passes] == ["photo", "photo", "move", "cover"]
    photo, _, move, cover = policy.passes
    assert (photo.in_height, move.in_height, move.out_height, cover.in_height) == (32, 32, 64, 64)
    # The crop was written after the resize: its pixels are those of the enlarged image.
    assert [(op.opcode, op.height) for op in move.ops] == [("enlarge", 32), ("crop", 64)]
    assert cover.ops[0].constants[0] == round(64 * 64 * 0.02 * 65536)


def test_moves_before_an_enlargement_count_source_pixels():
    move = parse("crop(pad_px=8), resize(px=64)").passes[0]
    assert [(op.opcode, op.height) for op in move.ops] == [("crop", 32), ("enlarge", 32)]
    assert (move.in_height, move.out_height) == (32, 64)


def test_shrinking_keeps_the_written_order():
    assert kinds("crop(pad_px=4), resize(px=24), flip(), gray()") == [
        ("move", ["crop"]), ("shrink", ["shrink"]), ("move", ["flip"]), ("photo", ["gray"]),
    ]
    assert parse("crop(pad_px=4), resize(px=24), flip()").output_px == 24


def test_a_resize_to_the_same_size_does_nothing():
    assert kinds("flip(), resize(px=32), gray()") == [("move", ["flip"]), ("photo", ["gray"])]


def test_operations_that_never_act_are_left_out():
    assert kinds("flip(p=0), maybe(0, gray()), blur(kernel_px=3, sigma=(.1, .2)), invert()") == [("photo", ["invert"])]


def test_gates_of_wrappers():
    outer, inner = parse("maybe(.5, flip(), gray(p=1))").passes
    assert outer.ops[0].gates == (Gate(15, 0, 1 << 23), Gate(31, 0, 1 << 23))
    assert inner.ops[0].gates == (Gate(15, 0, 1 << 23),)
    assert parse("flip_alternate()").passes[0].ops[0].gates == (Gate(ALTERNATE_SLOT, 1, 2),)


def test_one_of_splits_its_probability_evenly():
    passes = parse("one_of(.3, invert(), equalize(), autocontrast())").passes
    gates = [pass_.ops[0].gates[0] for pass_ in passes]
    limit = round(0.3 * 2**24)
    assert [gate.slot for gate in gates] == [15] * 3
    assert [gate.low for gate in gates] == [0, gates[0].high, gates[1].high] and gates[2].high == limit


def test_trivial_wide_offers_fourteen_choices():
    ops = [op for pass_ in parse("trivial_wide()").passes for op in pass_.ops]
    assert len(ops) == 13 and all(len(op.gates) == 1 for op in ops)
    # Shears are about the corner and by tangents; shifts and the turn are about the centre.
    assert [op.constants for op in ops if op.kind == "move"] == [(1, 1)] * 2 + [(0, 1)] * 3
    edges = sorted((op.gates[0].low, op.gates[0].high) for op in ops)
    assert edges[0][0] == 2**24 // 14 and edges[-1][1] == 2**24
    assert all(a[1] == b[0] for a, b in zip(edges, edges[1:], strict=False))


def test_rand_augment_has_a_run_and_slots_for_each_round():
    passes = parse("rand_augment(n=3)").passes
    assert sum(pass_.kind == "move" for pass_ in passes) == 3
    assert [pass_.ops[0].gates[0].slot for pass_ in passes if pass_.kind == "move"] == [0, 2, 4]


@pytest.mark.parametrize("text", ["trivial_wide(fill={})", "rand_augment(fill={})", "perspective(fill={})",
                                  "affine(shear_deg=9, fill={})", "crop(pad_px=1, fill={})"])
@pytest.mark.parametrize("fill", ["zero", "mean", "reflect"])
def test_what_lies_outside_is_what_the_operation_says(text, fill):
    assert {pass_.fill for pass_ in parse(text.format(fill)).passes if pass_.kind == "move"} == {fill}


@pytest.mark.parametrize("side_px", [*range(4, 40), 511, 512])
def test_corners_move_by_a_share_of_half_the_side_and_by_less_than_a_third_of_it(side_px):
    # By as much as .6 of half the side; two corners that move towards each other stay two pixels apart.
    most = max((px for px in range(side_px) if 10 * px <= 6 * (side_px // 2) and 3 * px <= side_px - 2), default=0)
    [pass_] = parse("perspective(distortion=.6)", 64, side_px).passes
    assert pass_.ops[0].constants == (most, 19)
    [pass_] = parse("perspective(distortion=.6)", side_px, 64).passes
    assert pass_.ops[0].constants == (19, most)


@pytest.mark.parametrize("range_, constant", [
    (Range(0, 5), 5), (Range(0, 5, offset=2), 7), (Range(0, 5, offset=2, signed=True), None),
    (Range(0, 5, signed=True), 5), (Range(0, 5, span=1), None), (Range(0, 5, span=1, signed=True), None)])
def test_a_range_is_constant_where_no_draw_changes_it(range_, constant):
    assert range_.constant == constant


def test_a_jitter_from_its_neutral_value_on_is_no_mistake():
    [pass_] = parse("jitter(brightness=(1, 1.5), hue=(0, .1))").passes
    assert [range_.constant for range_ in pass_.ops[0].ranges] == [None, 1 << 16, 1 << 16, None]


@pytest.mark.parametrize("text, parts", [("jitter(contrast=.2)", (1,)), ("jitter(brightness=.2, hue=.1)", (0, 3)),
                                         ("jitter(brightness=.2, contrast=.2, saturation=.2, hue=.1)", (0, 1, 2, 3)),
                                         ("jitter(saturation=(2, 2), contrast=(1, 1.5))", (1, 2))])
def test_a_jitters_orders_are_those_of_the_parts_that_can_change_something(text, parts):
    orders = jitter_orders(parse(text).passes[0].ops[0])
    assert {part for order in orders for part in order} == set(parts) and len(orders) == 24
    # Each order of the parts is as likely as any other, and the full ones are in the order of a dictionary.
    assert {orders.count(order) for order in orders} == {24 // math.factorial(len(parts))}
    assert len(parts) < 4 or list(orders) == sorted(orders)


def test_the_sum_of_eight_bytes_as_noise_has_mean_0_and_a_deviation_of_full_scale():
    assert NOISE_MEAN == 8 * sum(range(256)) / 256
    variance = 8 * sum((value - 127.5) ** 2 for value in range(256)) / 256
    assert NOISE_UNIT == pytest.approx(255 / math.sqrt(variance) * 2**16, rel=2e-5)


def test_what_a_policy_becomes_cannot_be_changed():
    """Policies and passes are kept and compared as keys."""
    policy = parse("flip(), affine(rotate_deg=9)")
    pass_, op = policy.passes[0], policy.passes[0].ops[1]
    for made in (policy, policy.operations[0], pass_, op, policy.passes[0].ops[0].gates[0], op.ranges[0],
                 policy.operations[0].spec, policy.operations[0].spec.parameters[0]):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, dataclasses.fields(made)[0].name, None)
        assert hash(made) == hash(made)


def test_a_policy_is_its_operations_and_size():
    policy = parse("flip(), erase()", 20, 30)
    assert Policy(policy.operations, 20, 30, ()) == policy != Policy(policy.operations, 30, 20, policy.passes)
    assert "Pass" not in repr(policy) and "flip" in repr(policy)


def test_editing_one_operation_moves_no_other_draws():
    before = parse("crop(pad_px=4), jitter(brightness=.2), erase()")
    after = parse("crop(pad_px=2), jitter(brightness=.4, hue=.1), erase(p=1)")
    slots = [[op.slot for pass_ in policy.passes for op in pass_.ops] for policy in (before, after)]
    assert slots[0] == slots[1] == [0, 16, 32]


@pytest.mark.parametrize("kernel_px, low, high", [(3, 0.1, 0.2), (5, 0.3, 2.0), (31, 1.0, 20.0)])
def test_gaussian_rows_are_those_of_64_sigmas_in_the_middles_of_equal_parts(kernel_px, low, high):
    rows = weight_tables.gaussian(kernel_px, low, high)
    assert len(rows) == 64 and all(sum(row) == 1 << 14 and row == row[::-1] for row in rows)
    for k, row in enumerate(rows):
        sigma = low + (high - low) * (2 * k + 1) / 128
        assert weight_tables.sigma_of(k, low, high) == pytest.approx(sigma)
        weights = [math.exp(-((j - kernel_px // 2) ** 2) / (2 * sigma * sigma)) for j in range(kernel_px)]
        off = [got - w / sum(weights) * 2**14 for w, got in zip(weights, row, strict=True)]
        # Each is rounded; the middle one takes up what the sum lacks.
        assert all(abs(value) <= 0.5 + 1e-9 for j, value in enumerate(off) if j != kernel_px // 2)
        assert abs(off[kernel_px // 2]) <= kernel_px / 2


@pytest.mark.parametrize("low, high", [(0.3, 3.3), (0.5, 0.5), (0.01, 100)])
def test_ratios_are_log_uniform_and_inverse(low, high):
    pairs = weight_tables.log_uniform_ratios(low, high)
    expected = [low * (high / low) ** ((2 * k + 1) / 512) for k in range(256)]
    assert [ratio for ratio, _ in pairs] == pytest.approx([ratio * 65536 for ratio in expected], abs=0.51)
    assert [inverse for _, inverse in pairs] == pytest.approx([65536 / ratio for ratio in expected], abs=0.51)


@pytest.mark.parametrize("size, out", [(32, 24), (32, 20), (33, 5), (8, 8), (16, 4), (9, 12), (5, 4), (64, 63),
                                       (47, 9), (512, 4), (100, 33)])
def test_shrinking_weights_stay_inside_and_sum_to_one(size, out):
    rows = weight_tables.antialiased(size, out)
    assert len(rows) == out
    for first, *weights in rows:
        assert 0 <= first and first + len(weights) <= size and sum(weights) == 1 << 14
    # torch's own weights: what it makes of a single bright pixel, for each place of that pixel.
    theirs = torch.nn.functional.interpolate(torch.eye(size)[:, None, None].expand(-1, 1, 2, -1), (2, out),
                                             mode="bilinear", antialias=True)[:, 0, 0]
    ours = torch.zeros(size, out)
    for i, (first, *weights) in enumerate(rows):
        ours[first: first + len(weights), i] = torch.tensor(weights) / 2**14
    torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-4)
