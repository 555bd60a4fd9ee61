"""Files of weights are read as tensors by name, or refused in one line that names the file."""

import os
import sys

import pytest
import torch
from torch import nn

from engine.common.errors import EngineError
from engine.models.weight_files import is_file_name, read
from engine.storage import checkpoint
from tests.engine.blank import BLANK


@pytest.fixture
def state():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()


def same(read_back, state):
    return list(read_back) == list(state) and all(torch.equal(t, state[name]) for name, t in read_back.items())


def refused(path):
    with pytest.raises(EngineError) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


OPTIMIZER = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize("place", [None, "state_dict", "model", "model_state_dict", "net", "weights", "any name"])
def test_what_torch_saved(tmp_path, state, place):
    torch.save({"epoch": 3, "optimizer": OPTIMIZER, place: state} if place else state, tmp_path / "a.pth")
    assert same(read(tmp_path / "a.pth"), state)


@pytest.mark.parametrize("place", ["state_dict", "model", "model_state_dict", "net"])
def test_of_several_the_one_with_the_usual_name_is_meant(tmp_path, state, place):
    other = {name: tensor + 1 for name, tensor in state.items()}
    torch.save({"average": other, place: state}, tmp_path / "a.pth")
    assert same(read(tmp_path / "a.pth"), state)
    torch.save({"teacher": other, "student": state}, tmp_path / "a.pth")
    assert "holds several state dicts (teacher, student): save one of them alone" in refused(tmp_path / "a.pth")


def test_torch_s_older_format(tmp_path, state):
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert same(read(tmp_path / "a.pth"), state)


@pytest.mark.parametrize("averaged", [False, True])
def test_a_checkpoint_gives_the_weights_its_run_is_evaluated_with(tmp_path, state, averaged):
    other = {name: tensor + 1 for name, tensor in state.items()}
    content = BLANK | {"model": other if averaged else state}
    content["ema"] = {"averages": 7, "model": state} if averaged else None
    checkpoint.save(tmp_path / "last.pt", content)
    assert same(read(tmp_path / "last.pt"), state)


def test_a_damaged_checkpoint_is_not_read_as_something_else(tmp_path, state):
    checkpoint.save(tmp_path / "a.pt", BLANK | {"model": state})
    data = bytearray((tmp_path / "a.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.pt").write_bytes(data)
    assert "is damaged" in refused(tmp_path / "a.pt")


def test_safetensors(tmp_path, state):
    torch_side = pytest.importorskip("safetensors.torch")
    torch_side.save_file(state, tmp_path / "a.safetensors")
    loaded = read(tmp_path / "a.safetensors")
    assert same({name: loaded[name] for name in state}, state) and len(loaded) == len(state)
    (tmp_path / "b.safetensors").write_bytes(b"\x08" * 40)
    assert "damaged or no safetensors file" in refused(tmp_path / "b.safetensors")


def test_without_safetensors_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert refused(tmp_path / "a.safetensors").endswith(
        "needs the safetensors package: pip install 'cadence-train[safetensors]'")


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_a_hostile_file_runs_nothing(tmp_path, state, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": state, "args": Hostile()}, "a.pth")
    assert "it holds more than tensors and values: posix.mkdir;" in refused(tmp_path / "a.pth")
    assert not (tmp_path / "pwned").exists()


def test_a_whole_module_is_refused_by_name(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "a.pt")
    assert "torch.nn.modules.linear.Linear; save its state dict alone" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [b"", b"x", b"epoch,loss\n1,2\n", b"PK\x03\x04" + bytes(100), bytes(range(256))])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    assert "is damaged or was not written by torch.save" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_cut_file_is_refused(tmp_path, state, share):
    torch.save(state, tmp_path / "a.pt")
    whole = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(whole[: int(len(whole) * share)])
    assert "is damaged" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "content", [torch.ones(3), [1, 2], {}, {"epoch": 3}, {"model": {"weight": 1.0}}, {0: torch.ones(1)}]
)
def test_files_without_a_state_dict_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    assert "holds no state dict" in refused(tmp_path / "a.pt")


def test_missing_files_and_folders_are_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "a.pt")
    assert "No such file" in refused(tmp_path / "a.safetensors")
    assert "is a folder: give a file in it" in refused(tmp_path)


def test_which_names_mean_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert all(map(is_file_name, ("a.pt", "a.pth", "a.safetensors", "runs/best", "./x", "~/x")))
    assert not any(map(is_file_name, ("IMAGENET1K_V2", "ResNet50_Weights.DEFAULT", "a1_in1k", "default")))
    (tmp_path / "default").touch()
    assert is_file_name("default")
