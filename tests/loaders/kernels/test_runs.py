"""How a policy is split into runs, one kernel each, and what plans say of it."""

import shutil

import pytest

from loaders.kernels import available
from loaders.kernels.available import obstacle
from loaders.kernels.plan import describe
from loaders.kernels.runs import Run, runs_of, tables_of
from loaders.policy.named_policies import POLICIES
from loaders.policy.policy import parse
from tests.loaders.images import EACH


def opcodes(text, height=32, width=32):
    """Each run's opcodes, or the number of the pass that no kernel serves."""
    return [[step.op.opcode for step in run.steps] if isinstance(run, Run) else run
            for run in runs_of(parse(text, height, width))]


@pytest.fixture
def gpu(monkeypatch):
    """As on a machine with Triton and a compiler."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(available, "find_spec", lambda name: name == "triton")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == "gcc" else None)


@pytest.mark.parametrize("name", POLICIES)
def test_a_named_policy_is_one_kernel_unless_it_enlarges(name):
    assert len(runs_of(parse(POLICIES[name]))) == (2 if name == "resnet50" else 1)


def test_a_sampling_begins_a_run_and_what_changes_values_joins_it():
    assert opcodes("crop(pad_px=4), gray(p=1), cutout(hole_px=8), flip(), invert()") == [
        ["crop", "gray", "cutout"], ["flip", "invert"]]
    assert opcodes("invert(), resize(px=16), gray(p=1)") == [["invert"], ["shrink", "gray"]]
    assert opcodes("none") == []


def test_no_kernel_reads_a_whole_image_that_does_not_fit_on_the_chip():
    text = "crop(pad_px=4), equalize(), invert()"
    assert opcodes(text, 64, 64) == [["crop", "equalize", "invert"]]
    assert opcodes(text, 64, 65) == [["crop"], 1, ["invert"]]
    # Without contrast a jitter needs no other pixel.
    assert opcodes("jitter(hue=.1)", 64, 65) == [["jitter"]] and opcodes("jitter(contrast=.1)", 64, 65) == [0]


def test_a_bilinear_sampling_and_a_large_whole_image_share_no_registers():
    assert opcodes("affine(rotate_deg=9), invert(), equalize()", 32, 32) == [["affine", "invert", "equalize"]]
    assert opcodes("affine(rotate_deg=9), invert(), equalize()", 32, 33) == [["affine", "invert"], ["equalize"]]


@pytest.mark.parametrize("text", EACH)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (41, 27), (64, 64), (200, 96)])
def test_the_blocks_of_a_run_cover_its_image_once(text, height, width):
    for run in runs_of(parse(text, height, width)):
        if isinstance(run, Run):
            pixels = run.out_height * run.out_width
            assert run.block & (run.block - 1) == 0 and run.block * (run.tiles - 1) < pixels <= run.block * run.tiles
            assert run.tiles == 1 or not run.needs_whole_image
            assert run.warps & (run.warps - 1) == 0 and run.warps <= 32


def test_each_step_finds_its_table():
    policy = parse("erase(p=1), blur(kernel_px=3, sigma=1), jitter(hue=.1, contrast=.1), resize(px=16)")
    tables, [first, shrunk] = tables_of(policy), runs_of(policy)
    erase, blur, jitter = first.changes
    ratio, inverse = policy.passes[0].ops[0].table[0]
    assert tables[erase.table: erase.table + 2] == [ratio, inverse]
    assert sum(tables[blur.table: blur.table + 3]) == 1 << 14
    assert jitter.parts == (1, 3) and tables[jitter.table: jitter.table + 4] == [1, 3, 1, 3]
    assert tables[shrunk.shrink.table:] == [number for row in policy.passes[3].ops[0].table for number in row]
    assert tables_of(parse("flip()")) == [0]


def test_a_plan_says_what_kernels_do_and_what_they_do_not(gpu):
    assert describe(parse("cnn4"), "cuda") == ["kernel 1: crop, flip, jitter, erase"]
    assert describe(parse("crop(pad_px=4), equalize(), flip()", 64, 96), "cuda") == [
        "kernel 1: crop",
        "no kernel 2: equalize reads whole images, and 96x64 px exceed 4,096 pixels: batched torch, slower",
        "kernel 3: flip"]
    assert describe(parse("none"), "cuda") == []


def test_a_plan_says_why_there_are_no_kernels(gpu, monkeypatch):
    assert obstacle("cuda") is None
    assert describe(parse("baseline"), "cpu") == ["no kernels (they need a GPU): batched torch, slower"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert obstacle("cuda") == "Triton finds no C compiler: install gcc"
    monkeypatch.setenv("CC", "/opt/cc")
    assert obstacle("cuda") is None
    monkeypatch.setattr(available, "find_spec", lambda name: None)
    assert describe(parse("baseline"), "cuda") == ["no kernels (Triton is not installed): batched torch, slower"]
