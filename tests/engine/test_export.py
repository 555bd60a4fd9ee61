"""The real command on a small run: its files answer as the network does, and what is refused."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import export, train
from engine.common.errors import EngineError
from engine.exporting import pipeline, results_table
from engine.inference import sample_images
from engine.inference.trained import open_trained
from engine.models.weight_files import read
from recipes.settings.load import RecipeError

for package in ("onnx", "onnxruntime", "onnxscript", "safetensors", "torchao"):
    pytest.importorskip(package)
ROOT = Path(__file__).resolve().parents[2]
FP32 = {"safetensors": "model.safetensors", "torch-export": "model.pt2", "onnx": "model.onnx"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    words = ["--data.train_count=3000", "--data.test_count=400", "--data.resolution=16", "--train.batch=50",
             "--model.width=16", "--model.depth=3", "--train.epochs=4", "--augment.policy=resize(px=24), flip()",
             "--train.sizes=0:16,2:24", "--train.precision=fp32", "--run.report=false"]
    train.main(["--recipe", "quickstart", *words, f"--data.cache={folder}/cache", f"--run.folder={folder}/run"])
    return folder / "run"


@pytest.fixture(scope="module")
def exported(run):
    out, told = run.parent / "out", run.parent / "told.json"
    assert export.main([str(run), "--format", "safetensors,torch-export,onnx,int8", "--out", str(out), "--images",
                        "300", "--json", str(told)]) == 0
    return out, json.loads(told.read_text())


@pytest.fixture(scope="module")
def images(run):
    trained = open_trained(str(run), device="cpu")
    _, test, _ = sample_images.open_samples(trained, {}, 400)
    return trained, test


def test_each_file_is_told_with_its_size_and_its_agreement(exported):
    out, told = exported
    assert sorted(path.name for path in out.iterdir()) == sorted([*FP32.values(), "model_int8.pt2"])
    assert (told["split"], told["images"], told["pruned"]) == ("test", 300, None)
    for name, row in told["formats"].items():
        assert row["bytes"] == Path(row["file"]).stat().st_size
        if name != "int8":
            assert row["agreement"] >= 0.999 and row["max_difference"] < 1e-3
            assert row["top1"] == pytest.approx(told["top1"], abs=0.001)
    assert told["top1"] > 0.3


def test_int8_stays_within_a_point_and_is_timed_beside_fp32(exported):
    _, told = exported
    row = told["formats"]["int8"]
    assert row["top1"] >= told["top1"] - 0.01 and row["max_difference"] > 0
    for size in ("1", "64"):
        for program in ("fp32", "int8"):
            assert row["latency_ms"][size][program]["median"] > 0 and row["latency_ms"][size][program]["n"] >= 5


def test_paths_are_shown_as_they_are(exported, capsys):
    _, told = exported
    results_table.show({**told, "checkpoint": "[run]/:cat:/last.pt"})
    assert "[run]/:cat:/last.pt" in capsys.readouterr().out


FRESH = """
import sys
import numpy as np
import torch
images_bhwc = np.load(sys.argv[1])
folder = sys.argv[2]
found = {}
import onnxruntime
session = onnxruntime.InferenceSession(f"{folder}/model.onnx", providers=["CPUExecutionProvider"])
found["onnx"] = session.run(None, {"images_bhwc": images_bhwc})[0]
found["torch-export"] = torch.export.load(f"{folder}/model.pt2").module()(torch.from_numpy(images_bhwc)).numpy()
assert "engine" not in sys.modules
from engine.export import load
for name, file in (("safetensors", "model.safetensors"), ("int8", "model_int8.pt2")):
    loaded = load(f"{folder}/{file}")
    with torch.no_grad():
        found[name] = loaded.logits(torch.from_numpy(images_bhwc)).numpy()
    assert loaded.metadata["side_px"] == images_bhwc.shape[1] and len(loaded.metadata["class_names"]) == 10
np.savez(sys.argv[3], **found)
"""


def test_a_fresh_process_gets_the_networks_answers(exported, images, tmp_path):
    out, _ = exported
    trained, test = images
    np.save(tmp_path / "images.npy", test.images_bhwc.numpy())
    words = [sys.executable, "-c", FRESH, tmp_path / "images.npy", out, tmp_path / "found.npz"]
    subprocess.run(list(map(str, words)), cwd=ROOT, check=True, timeout=120)
    found, expected = np.load(tmp_path / "found.npz"), trained.logits(test.images_bhwc).numpy()
    for name in FP32:
        assert (found[name].argmax(1) == expected.argmax(1)).mean() >= 0.999, name
        assert np.abs(found[name] - expected).max() < 1e-3, name
    assert np.array_equal(found["safetensors"], expected)
    assert (found["int8"].argmax(1) == expected.argmax(1)).mean() > 0.9


def test_the_metadata_say_what_the_run_was(exported, run):
    out, _ = exported
    for file in (*FP32.values(), "model_int8.pt2"):
        told = export.load(str(out / file)).metadata
        assert (told["recipe"], told["dataset"], told["model"], told["side_px"]) == ("quickstart", "shapes", "cnn", 24)
        assert told["mean"] == [0.5, 0.5, 0.5] and told["policy"] == "resize(px=24), flip()"
        assert told["settings"]["train.epochs"] == 4 and told["pruned"] is None and told["epoch"] == 4
        assert str(run.parent) not in json.dumps(told)
        assert ("uint8" in told["input"]) == (file != "model.safetensors")


def test_no_place_of_the_machine_is_in_the_metadata(images):
    trained, _ = images
    places = {"run.folder": "/here", "data.cache": "/here", "model.weights": "/here/w.pt"}
    told = pipeline.description(replace(trained, recipe=trained.recipe.changed(places)), None, "")
    assert "/here" not in json.dumps(told) and told["settings"]["train.epochs"] == 4


def test_a_network_of_one_class_does_not_hide_a_wrong_file(images, monkeypatch):
    trained, test = images
    one = open_trained(str(trained.run_folder), device="cpu")
    next(p for name, p in reversed(list(one.model.named_parameters())) if name.endswith("bias"))[0] += 1000
    made = pipeline.make(one, ["safetensors"], test, test, None, say=print)[1]
    assert made["safetensors"].check.max_difference < 0.01
    plain = pipeline.safetensors_file.to_bytes
    monkeypatch.setattr(pipeline.safetensors_file, "to_bytes", lambda content, told: plain(
        {key: tensor.flip(1) if tensor.dim() > 1 else tensor for key, tensor in content.items()}, told))
    monkeypatch.setattr(pipeline.verify, "MOST_DIFFERENCE", 0)
    with pytest.raises(EngineError, match="--format safetensors: the exported network's logits are up to"):
        pipeline.make(one, ["safetensors"], test, test, None, say=print)


def test_an_int8_file_that_mostly_answers_otherwise_is_refused(images, monkeypatch):
    trained, test = images
    plain = pipeline.verify.check
    monkeypatch.setattr(pipeline.verify, "check", lambda *given: replace(plain(*given), agreement=0.79))
    monkeypatch.setattr(pipeline.program, "compiled", lambda answer: answer)
    with pytest.raises(EngineError, match=r"--format int8: .* for 79.00% of the images .* 80.0% are needed"):
        pipeline.make(trained, ["int8"], test, test, None, say=print)


def test_images_that_the_run_did_not_have_are_told(images):
    trained, _ = images
    said = []
    sample_images.open_samples(trained, {}, 10, said.append)
    assert said == []
    sample_images.open_samples(trained, {"data.shapes_seed": 5}, 10, said.append)
    assert len(said) == 1 and said[0].startswith("warning: the train images of shapes are not those that the run had")


def test_training_can_start_from_an_exported_file(exported, run):
    out, _ = exported
    weights, network = read(out / "model.safetensors"), open_trained(str(run), device="cpu").model.state_dict()
    assert weights.keys() == network.keys()
    assert all(torch.equal(weights[name], network[name]) for name in network)


def test_images_are_those_of_evaluation_evenly_spaced_each_with_its_label(images, run):
    trained, every = images
    _, some, calibration = sample_images.open_samples(trained, {}, 100)
    spaced = np.linspace(0, 399, 100).round().astype(int)
    assert torch.equal(some.images_bhwc, every.images_bhwc[spaced])
    assert torch.equal(some.labels, every.labels[spaced])
    assert every.images_bhwc.shape == (400, 24, 24, 3) and every.images_bhwc.dtype == torch.uint8
    assert calibration.split == "train" and len(calibration.labels) == sample_images.CALIBRATION_IMAGES
    right = (trained.logits(every.images_bhwc).argmax(1) == every.labels).double().mean().item()
    assert right == json.loads((run / "summary.json").read_text())["test_top1"]


def test_a_data_set_without_a_test_split_is_checked_on_training_images_and_says_so(tmp_path, capsys):
    from PIL import Image

    draws = np.random.default_rng(0)
    for kind in ("dark", "light"):
        (tmp_path / "data" / "train" / kind).mkdir(parents=True)
        for number in range(12):
            pixels = draws.integers(0, 100, (16, 16, 3), np.uint8) + (150 if kind == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / "train" / kind / f"{number}.png")
    train.main(["--recipe", "quickstart", "--data.name=folder", f"--data.root={tmp_path}/data", "--data.resolution=16",
                "--data.validation=0", f"--data.cache={tmp_path}/cache", "--train.batch=8", "--model.width=4",
                "--model.depth=3", "--train.epochs=1", f"--run.folder={tmp_path}/run", "--run.report=false"])
    capsys.readouterr()
    export.main([f"{tmp_path}/run", "--format", "safetensors"])
    assert "24 images of the train split, for folder has no test split" in capsys.readouterr().out
    assert (tmp_path / "run" / "export" / "model.safetensors").is_file()


@pytest.mark.parametrize(("module", "name"), [(pipeline.safetensors_file, "safetensors"), (pipeline.onnx_file, "onnx")])
def test_nothing_is_written_where_a_file_answers_otherwise(module, name, run, tmp_path, monkeypatch):
    plain = module.to_bytes

    def spoilt(content, metadata):
        if name == "safetensors":
            content = {key: tensor.flip(0) if tensor.dim() > 1 else tensor for key, tensor in content.items()}
        else:
            content = torch.export.export(Upside(content.module()), (torch.zeros(2, 24, 24, 3, dtype=torch.uint8),),
                                          dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        return plain(content, metadata)

    class Upside(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, images_bhwc):
            return self.inner(images_bhwc.flip(3))

    monkeypatch.setattr(module, "to_bytes", spoilt)
    with pytest.raises(EngineError, match=f"--format {name}: the exported network gives the same first class for"):
        export.main([str(run), "--format", f"torch-export,{name}", "--out", f"{tmp_path}/out", "--images", "200"])
    assert not (tmp_path / "out").exists()


def test_a_network_whose_logits_are_not_finite_is_not_exported(run, images, tmp_path):
    trained, test = images
    broken = open_trained(str(run), device="cpu")
    next(broken.model.parameters()).fill_(float("nan"))
    with pytest.raises(EngineError, match="logits that are not finite"):
        pipeline.make(broken, ["safetensors"], test, test, None, say=print)


@pytest.mark.parametrize(("words", "said"), [
    (["--format", "pickle"], "--format pickle is unknown: give one or more of"),
    ([], "--format is missing"),
    (["--format", "onnx", "--images", "1"], "--images 1 must be 2 or more"),
    (["--format", "onnx", "--images", "many"], "argument --images: invalid int value"),
    (["--format", "onnx", "--prune", "1"], "--prune 1 must be a share between 0 and 1"),
    (["--format", "onnx", "--prune", "nan"], "--prune nan must be a share"),
    (["--format", "onnx", "--prune", "0.5", "--prune-epochs", "-1"], "--prune-epochs -1 must be 0 or more"),
    (["--format", "onnx", "--prune-kind", "channels"], "--prune-kind has no effect without --prune"),
    (["--format", "onnx", "--prune-epochs", "0"], "--prune-epochs has no effect without --prune"),
    (["--format", "onnx", "--train.epochs=3"], "--train.epochs has no effect on an export"),
])
def test_what_cannot_be_meant_is_refused_before_the_run_is_opened(words, said):
    with pytest.raises(EngineError, match=said) as refused:
        export.main(["/nowhere", *words])
    assert "\n" not in str(refused.value)


def test_a_folder_that_cannot_be_made_and_a_checkpoint_that_is_none_are_refused(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="is not a folder that can be: choose another with --out"):
        export.main([str(run), "--format", "onnx", "--out", f"{tmp_path}/file/out"])
    with pytest.raises(EngineError, match="does not exist: give a run folder"):
        export.main([f"{tmp_path}/none", "--format", "onnx"])
    with pytest.raises(EngineError, match="knows 10 classes"):
        export.main([str(run), "--format", "onnx", "--data.classes=12"])


def test_a_missing_package_is_refused_first(monkeypatch):
    from engine.storage import export_formats

    monkeypatch.setattr(export_formats, "find_spec", lambda package: None)
    with pytest.raises(EngineError, match="--format int8 needs the torchao package: pip install 'cadence-train"):
        export.main(["/nowhere", "--format", "torch-export,int8"])


def test_files_that_are_no_exports_are_refused(exported, run, tmp_path):
    out, _ = exported
    with pytest.raises(EngineError, match="is no exported file: give a .safetensors, .pt2 or .onnx file"):
        export.load(str(run / "checkpoints" / "last.pt"))
    with pytest.raises(EngineError, match="cannot be read .No such file"):
        export.load(str(tmp_path / "none.onnx"))
    shutil.copy(out / "model.onnx", tmp_path / "model.pt2")
    with pytest.raises(EngineError, match="model.pt2 cannot be read as a torch.export program"):
        export.load(str(tmp_path / "model.pt2"))


def test_weights_with_other_settings_than_theirs_are_refused(exported, tmp_path):
    from engine.exporting import safetensors_file

    out, _ = exported
    weights, told = safetensors_file.from_bytes((out / "model.safetensors").read_bytes(), "m")
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors_file.to_bytes(weights, {**told, "settings": {**told["settings"], "model.width": 4}}))
    with pytest.raises(EngineError, match="is of another model: features.0.weight"):
        export.load(str(path))
    path.write_bytes(safetensors_file.to_bytes(weights, {**told, "settings": {"model.nme": "cnn"}}))
    with pytest.raises(RecipeError, match="model.nme is unknown; did you mean model.name"):
        export.load(str(path))
