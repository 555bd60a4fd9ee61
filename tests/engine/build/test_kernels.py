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

FOREIGN = {"model.name": "torchvision", "model.arch": "resnet18"}


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


def fuse(settings=(), *, mode="eager", device="cpu"):
    """(the result, the norms that are fused, what was said)."""
    recipe, said = load("quickstart", settings=dict(settings)), []
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


def test_an_eager_step_of_an_own_network_on_a_cpu_is_fused(compiler):
    assert fuse() == (True, 4, []) and compiler.calls == 1


@pytest.mark.parametrize(("settings", "where"), [
    ({"train.norms": "torch"}, {}), ({}, {"mode": "compile"}), ({}, {"device": "cuda"}), (FOREIGN, {}),
    ({"model.norm": "group"}, {}), ({"model.width": 4, "model.depth": 2}, {}), ({"train.channels_last": False}, {}),
    ({"model.name": "sprint", "model.widths": "24,24,24"}, {})], ids=str)
def test_where_it_cannot_be_nothing_is_compiled_and_nothing_said(compiler, settings, where):
    assert fuse(settings, **where) == (False, 0, []) and compiler.calls == 0


def test_without_a_compiler_a_warning_says_so_and_nothing_is_fused(compiler):
    compiler.fails = True
    assert fuse() == (False, 0, ["warning: using torch's own batch norms, which are slower: there is no C++ compiler: "
                                 "install g++ 11 or later"])


def test_evaluation_of_a_fused_network_keeps_torchs_numbers():
    recipe = load("quickstart")
    model = build_model(recipe, 10).to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    model.eval()
    before = model(images)
    assert fuse_norms(recipe, model, torch.device("cpu"), "eager", None)
    assert torch.equal(model(images), before)
