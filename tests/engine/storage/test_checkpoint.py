"""A checkpoint is read back whole, or refused in one line that names the file."""

import io
import os
import pickle
import random

import pytest
import torch

from engine.common.errors import EngineError
from engine.common.files import write_atomic
from engine.storage import checkpoint
from engine.storage.history import COLUMNS
from engine.storage.run_folder import write_start
from recipes.settings.load import load
from tests.engine.blank import BLANK


@pytest.fixture
def content():
    return BLANK | {
        "recipe": "quickstart", "values": {"train.epochs": 3, "data.mean": [0.1, 0.2, 0.3]},
        "model": {"weight": torch.arange(6.0).view(2, 3)},
        "processes": [{"rng": checkpoint.rng_state(), "tally": [0.0] * 3}],
        "history": [dict.fromkeys(COLUMNS, 0.5)],
    }


def refused(path):
    with pytest.raises(EngineError) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_saved_is_loaded(tmp_path, content):
    checkpoint.save(tmp_path / "a.pt", content)
    loaded = checkpoint.load(tmp_path / "a.pt")
    assert torch.equal(loaded["model"]["weight"], content["model"]["weight"])
    assert loaded["values"] == content["values"] and loaded["history"] == content["history"]
    assert os.listdir(tmp_path) == ["a.pt"]


def test_plain_torch_reads_it_too(tmp_path, content):
    checkpoint.save(tmp_path / "a.pt", content)
    assert torch.load(tmp_path / "a.pt", weights_only=True)["recipe"] == "quickstart"


def test_every_flipped_bit_is_noticed(tmp_path, content):
    checkpoint.save(tmp_path / "a.pt", content)
    whole, path = (tmp_path / "a.pt").read_bytes(), tmp_path / "b.pt"
    dice = random.Random(0)
    for bit in dice.sample(range(len(whole) * 8), 300):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        refused(path)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_cut_file_is_refused(tmp_path, content, share):
    checkpoint.save(tmp_path / "a.pt", content)
    whole = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(whole[: int(len(whole) * share)])
    assert "cut short" in refused(tmp_path / "a.pt")


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_a_hostile_file_runs_nothing(tmp_path, content, monkeypatch):
    import hashlib

    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save(content | {"recipe": Hostile()}, buffer, pickle_module=pickle)
    body = buffer.getvalue()
    (tmp_path / "a.pt").write_bytes(body + checkpoint.MAGIC + hashlib.sha256(body).digest())
    assert "mkdir" in refused(tmp_path / "a.pt")
    assert not (tmp_path / "pwned").exists()


def test_entries_are_the_expected_ones(tmp_path, content):
    with pytest.raises(KeyError):
        checkpoint.save(tmp_path / "a.pt", {"model": {}})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("key", "value"), [
    ("recipe", 3), ("values", {1: 2}), ("resolution", True), ("model", {"weight": 1}), ("ema", {}), ("optimizer", []),
    ("progress", {}), ("progress", BLANK["progress"] | {"tally": "x"}), ("progress", BLANK["progress"] | {"more": 1}),
    ("history", [1]), ("history", [{}]),
    ("processes", []), ("processes", [{"rng": {}, "tally": [0.0]}])])
def test_an_entry_of_another_kind_is_refused_by_name(tmp_path, content, key, value):
    checkpoint.save(tmp_path / "a.pt", content | {key: value})
    assert f"its entry {key} is not what" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("name", sorted(BLANK["progress"].keys() - {"compile_seconds"}))
def test_no_field_of_the_progress_may_be_missing(tmp_path, content, name):
    progress = {key: value for key, value in BLANK["progress"].items() if key != name}
    checkpoint.save(tmp_path / "a.pt", content | {"progress": progress})
    assert "its entry progress is not what" in refused(tmp_path / "a.pt")


def test_a_missing_file_and_an_empty_run_folder(tmp_path):
    refused(tmp_path / "none.pt")
    with pytest.raises(EngineError, match="does not exist"):
        checkpoint.find(str(tmp_path / "none"))
    with pytest.raises(EngineError, match=r"no checkpoints/last\.pt"):
        checkpoint.find(str(tmp_path))


NOT_HELD_OUT = "choosing the best epoch needs held-out images, and it was trained with data.validation=0"
FOLDER = {"data.name": "folder", "data.root": "D", "data.validation": 0}


@pytest.mark.parametrize(("settings", "folders", "said"), [
    ({"data.validation": 0}, {}, NOT_HELD_OUT), (FOLDER, {"train": "D"}, NOT_HELD_OUT),
    (FOLDER, {"train": "D/train", "validation": "D/val"}, "no epoch with a finite top1 has ended yet"),
    ({"eval.select": "none"}, {}, "it was trained with eval.watch=auto and eval.select=none"),
    ({}, {}, "no epoch with a finite top1 has ended yet")], ids=str)
def test_without_a_best_checkpoint_the_reason_is_told(tmp_path, settings, folders, said):
    write_start(tmp_path, "quickstart", load("quickstart", settings=settings).nested(), "", torch.device("cpu"), {},
                folders)
    with pytest.raises(EngineError) as caught:
        checkpoint.find(str(tmp_path), "best")
    assert str(caught.value) == f"{tmp_path} has no checkpoints/best.pt: {said}; without --best its last.pt is used"


def test_a_folder_of_repeats_names_its_seeds_folders(tmp_path):
    (tmp_path / "repeats.json").write_text("{}")
    with pytest.raises(EngineError, match="it holds a run per seed: give one of its seed_ folders"):
        checkpoint.find(str(tmp_path))


def test_the_best_of_a_single_checkpoint_is_refused(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"")
    assert checkpoint.find(str(tmp_path / "a.pt")) == tmp_path / "a.pt"
    with pytest.raises(EngineError, match=r"a\.pt holds one network, and --best chooses among .*: leave it out"):
        checkpoint.find(str(tmp_path / "a.pt"), "best")


def test_weights_of_another_model_are_named(tmp_path):
    with pytest.raises(EngineError, match=r"another model: weight is \(3, 2\) there and \(2, 3\) here"):
        checkpoint.load_weights(torch.nn.Linear(3, 2), torch.nn.Linear(2, 3).state_dict(), tmp_path)


def test_rng_goes_on_where_it_was():
    state = checkpoint.rng_state()
    first = torch.rand(4)
    checkpoint.set_rng_state(state)
    assert torch.equal(torch.rand(4), first)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EngineError, match="no space left on the disk"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.pt"]


def test_a_file_is_synced_before_it_takes_its_name(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), replace(a, b)))
    write_atomic(tmp_path / "a", b"x")
    assert calls == ["fsync", "rename", "fsync"]
