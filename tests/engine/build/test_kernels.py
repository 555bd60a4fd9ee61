"""Kernels are compiled before the first epoch, under a line; batch norms are fused where they can be."""

import threading
from types import SimpleNamespace

import pytest
import torch

from engine.build import kernels
from engine.build.kernels import compile_kernels, fuse_norms
from engine.build.model import build_model
from engine.common.errors import EngineError
from engine.kernels.fused_norm import fused_in
from recipes.settings.load import load

CPU = torch.device("cpu")
OWN, FOREIGN = {}, {"model.name": "torchvision", "model.arch": "resnet18"}


def test_a_kernel_that_is_compiled_is_told_meanwhile_and_one_that_is_loaded_is_not(monkeypatch):
    said, told = [], threading.Event()

    def say(line):
        said.append(line)
        told.set()

    compile_kernels(SimpleNamespace(compile=lambda: None), say)
    assert not said
    monkeypatch.setattr(kernels, "SILENT_S", 0.0)
    compile_kernels(SimpleNamespace(compile=lambda: told.wait(60)), say)
    assert said[0].startswith("compiling the loader's kernel") and "was compiled in 0.0 s" in said[1] and len(said) == 2
    compile_kernels(SimpleNamespace(compile=lambda: None), None)


def fuse(settings, wanted, *, mode="eager", device="cpu"):
    """(the result, the norms that are fused, what was said)."""
    recipe, said = load("quickstart", settings=settings | {"train.norms": wanted}), []
    with torch.device("meta"):
        model = build_model(recipe, 10)
    return fuse_norms(recipe, model, torch.device(device), mode, said.append), fused_in(model), said


@pytest.fixture
def compiler(monkeypatch):
    """Stands in for the compiler: compiler.fails makes it fail."""
    state = SimpleNamespace(fails=False, calls=0)

    def library():
        state.calls += 1
        if state.fails:
            raise EngineError("there is no C++ compiler: install g++ 11 or later")

    monkeypatch.setattr(kernels, "library", library)
    return state


def test_auto_fuses_an_eager_step_of_an_own_network_on_a_cpu(compiler):
    done, count, said = fuse(OWN, "auto")
    assert done and count == 4 and not said and compiler.calls == 1
    assert fuse(OWN, "fused")[:2] == (True, 4)
    assert fuse(OWN, "torch") == (False, 0, []) and compiler.calls == 2


@pytest.mark.parametrize(("settings", "where", "why"), [
    (OWN, {"mode": "compile"}, "is for eager steps on a CPU, not for train.step=compile on cpu: leave it out"),
    (OWN, {"device": "cuda"}, "is for eager steps on a CPU, not for train.step=eager on cuda: leave it out"),
    (FOREIGN, {}, "has no effect on this network"), ({"model.norm": "group"}, {}, "has no effect on this network"),
    ({"model.width": 4, "model.depth": 2}, {}, "batch norms over a multiple of 16 channels; leave it out")])
def test_where_it_cannot_be_auto_is_torch_without_a_word_and_fused_is_refused(compiler, settings, where, why):
    assert fuse(settings, "auto", **where) == (False, 0, []) and compiler.calls == 0
    with pytest.raises(EngineError) as caught:
        fuse(settings, "fused", **where)
    assert str(caught.value).startswith("train.norms=fused") and why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_compiler_auto_warns_and_fused_is_refused(compiler):
    compiler.fails = True
    assert fuse(OWN, "auto") == (False, 0, ["warning: batch norms are torch's own, which are slower: there is no C++ "
                                            "compiler: install g++ 11 or later"])
    with pytest.raises(EngineError) as caught:
        fuse(OWN, "fused")
    assert str(caught.value) == ("train.norms=fused: there is no C++ compiler: install g++ 11 or later, or leave it "
                                 "out")


def test_evaluation_of_a_fused_network_keeps_torchs_numbers():
    recipe = load("quickstart")
    model = build_model(recipe, 10).to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    model.eval()
    before = model(images)
    assert fuse_norms(recipe, model, CPU, "eager", None)
    assert torch.equal(model(images), before)
