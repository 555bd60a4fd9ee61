"""Kernels compile ahead of time for three generations of GPUs, without one, and spill no register."""

from functools import cache

import pytest

from loaders.kernels.runs import Run, runs_of
from loaders.policy.named_policies import POLICIES
from loaders.policy.policy import parse

pytestmark = pytest.mark.slow("compiles in processes")
# A100, H100, B200.
ARCHITECTURES = (80, 90, 100)
TRIVIAL = "trivial_wide(), crop(pad_px=4), flip()"
# At 64 px: filters and warps with as many pixels as fit on a chip.
TEXTS = {**{name: (name, 32) for name in POLICIES},
         "trivial_wide": (TRIVIAL, 32), "trivial_wide at 64 px": (TRIVIAL, 64),
         "filters at 64 px": ("crop(pad_px=4), blur(kernel_px=5, sigma=1), sharpness(factor=2), equalize()", 64)}


@cache
def runs(name: str) -> tuple[Run, ...]:
    text, side_px = TEXTS[name]
    return runs_of(parse(text, side_px, side_px))


@pytest.fixture(autouse=True)
def no_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("name", TEXTS)
def test_every_run_of_a_policy_compiles_and_spills_nothing(name, arch, tmp_path):
    from tests.loaders.kernels.offline import compiled

    for number, run in enumerate(runs(name)):
        report = compiled(run, arch, tmp_path, from_source=number == 0)
        assert report.code and report.spilled == 0, f"{name}, run {number}: {report.spilled} bytes"


def test_spilling_would_be_seen(tmp_path):
    from tests.loaders.kernels.offline import compiled

    [run] = runs("resnet34")
    assert compiled(run, 90, tmp_path, maxnreg=32).spilled > 0


def test_no_product_and_sum_are_fused(tmp_path):
    """A fused one rounds once, and a pixel between two positions would differ from the host's."""
    from tests.loaders.kernels.offline import compiled

    # Without a sine, whose own code fuses on purpose.
    [run] = runs_of(parse("affine(translate=.1, scale=(.8, 1.2)), perspective(p=1)"))
    assert "fma.rn.f64" not in compiled(run, 90, tmp_path / "apart").ptx
    assert "fma.rn.f64" in compiled(run, 90, tmp_path / "fused", enable_fp_fusion=True).ptx
