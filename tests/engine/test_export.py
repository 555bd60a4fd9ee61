"""The command on a small run: its files give the network's logits, and what is refused."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine import export
from engine.common.errors import EngineError
from engine.exporting import metadata, onnx_file, pipeline, results_table, safetensors_file
from engine.inference import sample_images
from engine.inference.trained import open_trained
from engine.models.weight_files import read
from recipes.settings.load import RecipeError
from tests.engine.colours import COLOURS, colours_run

for package in ("onnx", "onnxruntime", "onnxscript", "safetensors", "torchao"):
    pytest.importorskip(package)
ROOT = Path(__file__).resolve().parents[2]
FP32 = {"safetensors": "model.safetensors", "torch-export": "model.pt2", "onnx": "model.onnx"}


@pytest.fixture(scope="module")
def exported(trained_run, tmp_path_factory):
    """The folder of the run's files in all formats, and the summary."""
    out = tmp_path_factory.mktemp("exported")
    assert export.main([str(trained_run), "--format", "safetensors,torch-export,onnx,int8", "--out", f"{out}/files",
                        "--images", "300", "--json", f"{out}/summary.json"]) == 0
    return out / "files", json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def images(trained_run):
    """The trained network and its test images."""
    trained = open_trained(str(trained_run), device="cpu")
    _, test, _ = sample_images.open_sample_images(trained, {}, 400)
    return trained, test


def test_the_summary_has_each_files_size_and_agreement(exported):
    out, summary = exported
    assert sorted(path.name for path in out.iterdir()) == sorted([*FP32.values(), "model_int8.pt2"])
    assert (summary["split"], summary["images"], summary["pruned"]) == ("test", 300, None)
    for name, row in summary["formats"].items():
        assert row["bytes"] == Path(row["file"]).stat().st_size
        if name != "int8":
            assert row["agreement"] >= 0.999 and row["max_difference"] < 1e-3
            assert row["top1"] == pytest.approx(summary["top1"], abs=0.001)
    assert summary["top1"] > 0.3


def test_int8_stays_within_a_point_and_is_timed_beside_fp32(exported):
    _, summary = exported
    row = summary["formats"]["int8"]
    assert row["top1"] >= summary["top1"] - 0.01 and row["max_difference"] > 0
    for size in ("1", "64"):
        for taken in (row["latency_ms"][size]["fp32"], row["latency_ms"][size]["int8"]):
            assert taken["median"] > 0 and taken["n"] >= 5


def test_paths_are_shown_unchanged(exported, capsys):
    _, summary = exported
    results_table.show({**summary, "checkpoint": "[run]/:cat:/last.pt"})
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


def test_a_new_process_gets_the_networks_logits(exported, images, tmp_path):
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


def test_the_metadata_describe_the_run(exported, trained_run):
    out, _ = exported
    for file in (*FP32.values(), "model_int8.pt2"):
        described = export.load(str(out / file)).metadata
        assert [described[key] for key in ("recipe", "dataset", "model")] == ["quickstart", "shapes", "cnn"]
        assert described["side_px"] == 24
        assert described["mean"] == [0.5, 0.5, 0.5] and described["policy"] == "resize(px=24), flip()"
        assert described["settings"]["train.epochs"] == 4 and described["pruned"] is None and described["epoch"] == 4
        assert str(trained_run.parent) not in json.dumps(described)
        assert ("uint8" in described["input"]) == (file != "model.safetensors")


def test_no_place_of_the_machine_is_in_the_metadata(images):
    trained, _ = images
    places = {"run.folder": "/here", "data.cache": "/here", "model.weights": "/here/w.pt"}
    described = metadata.describe(replace(trained, recipe=trained.recipe.changed(places)), "", None)
    assert "/here" not in json.dumps(described) and described["settings"]["train.epochs"] == 4


def test_a_network_of_one_class_does_not_hide_a_wrong_file(images, monkeypatch):
    trained, test = images
    one = open_trained(str(trained.run_folder), device="cpu")
    next(p for name, p in reversed(list(one.model.named_parameters())) if name.endswith("bias"))[0] += 1000
    checks = pipeline.make_files(one, ["safetensors"], test, test, None)[2]
    assert checks["safetensors"]["max_difference"] < 0.01
    plain = safetensors_file.to_bytes
    monkeypatch.setattr(safetensors_file, "to_bytes", lambda content, described: plain(
        {key: tensor.flip(1) if tensor.dim() > 1 else tensor for key, tensor in content.items()}, described))
    monkeypatch.setattr(pipeline.verify, "MOST_DIFFERENCE", 0)
    with pytest.raises(EngineError, match="--format safetensors: the exported network's logits are up to"):
        pipeline.make_files(one, ["safetensors"], test, test, None)


def test_an_int8_file_that_agrees_too_rarely_is_refused(images, monkeypatch):
    trained, test = images
    plain = pipeline.verify.compare
    monkeypatch.setattr(pipeline.verify, "compare", lambda *given: {**plain(*given), "agreement": 0.79})
    monkeypatch.setattr(pipeline.torch_program, "compiled", lambda module: module)
    with pytest.raises(EngineError, match=r"--format int8: .* for 79.00% of the images .* 80.0% are needed"):
        pipeline.make_files(trained, ["int8"], test, test, None)


def test_images_that_the_run_did_not_have_are_reported(images):
    trained, _ = images
    said = []
    sample_images.open_sample_images(trained, {}, 10, said.append)
    assert said == []
    sample_images.open_sample_images(trained, {"data.shapes_seed": 5}, 10, said.append)
    assert len(said) == 1 and said[0].startswith("warning: the train images of shapes are not those that the run had")


def test_training_can_start_from_an_exported_file(exported, images):
    out, _ = exported
    weights, network = read(out / "model.safetensors"), images[0].model.state_dict()
    assert weights.keys() == network.keys()
    assert all(torch.equal(weights[name], network[name]) for name in network)


def test_sample_images_are_those_of_evaluation_evenly_spaced_with_their_labels(images, trained_run):
    trained, every = images
    _, some, calibration = sample_images.open_sample_images(trained, {}, 100)
    spaced = np.linspace(0, 399, 100).round().astype(int)
    assert torch.equal(some.images_bhwc, every.images_bhwc[spaced])
    assert torch.equal(some.labels, every.labels[spaced])
    assert every.images_bhwc.shape == (400, 24, 24, 3) and every.images_bhwc.dtype == torch.uint8
    assert calibration.split == "train" and len(calibration.labels) == sample_images.CALIBRATION_IMAGES
    right = (trained.logits(every.images_bhwc).argmax(1) == every.labels).double().mean().item()
    assert right == json.loads((trained_run / "summary.json").read_text())["test_top1"]


@pytest.mark.slow("compiles FFCV's kernels")
def test_a_data_set_without_a_test_split_is_checked_on_training_images_and_says_so(tmp_path, capsys):
    for name, rgb in COLOURS.items():
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        for number in range(4):
            image = Image.fromarray(np.full((16, 16, 3), np.multiply(rgb, 255), np.uint8))
            image.save(tmp_path / "data" / "train" / name / f"{number}.png")
    run = colours_run(tmp_path / "run", sorted(COLOURS), **{
        "data.name": "folder", "data.root": f"{tmp_path}/data", "data.cache": f"{tmp_path}/cache"})
    export.main([str(run), "--format", "safetensors"])
    assert "24 images of the train split (folder has no test split)" in capsys.readouterr().out
    assert (tmp_path / "run" / "export" / "model.safetensors").is_file()


@pytest.mark.parametrize(("module", "name"), [(safetensors_file, "safetensors"), (onnx_file, "onnx")])
def test_nothing_is_written_where_a_files_logits_differ(module, name, trained_run, tmp_path, monkeypatch):
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
        export.main([str(trained_run), "--format", f"torch-export,{name}", "--out", f"{tmp_path}/out", "--images",
                     "200"])
    assert not (tmp_path / "out").exists()


def test_a_network_whose_logits_are_not_finite_is_not_exported(images):
    trained, test = images
    broken = open_trained(str(trained.run_folder), device="cpu")
    next(broken.model.parameters()).fill_(float("nan"))
    with pytest.raises(EngineError, match="logits that are not finite"):
        pipeline.make_files(broken, ["safetensors"], test, test, None)


@pytest.mark.parametrize(("words", "message"), [
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
def test_wrong_options_are_refused_before_the_run_is_opened(words, message):
    with pytest.raises(EngineError, match=message) as refused:
        export.main(["/nowhere", *words])
    assert "\n" not in str(refused.value)


def test_a_folder_that_cannot_be_made_and_a_missing_checkpoint_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="is not a folder that can be: choose another with --out"):
        export.main(["/nowhere", "--format", "onnx", "--out", f"{tmp_path}/file/out"])
    with pytest.raises(EngineError, match="does not exist: give a run folder"):
        export.main([f"{tmp_path}/none", "--format", "onnx"])


def test_a_data_set_with_other_classes_is_refused(trained_run):
    with pytest.raises(EngineError, match="knows 10 classes"):
        export.main([str(trained_run), "--format", "onnx", "--data.classes=12"])


def test_a_missing_package_is_refused_first(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(EngineError, match="--format int8 needs the torchao package: pip install 'cadence-train"):
        export.main(["/nowhere", "--format", "torch-export,int8"])


def test_files_that_are_not_exports_are_refused(exported, trained_run, tmp_path):
    out, _ = exported
    with pytest.raises(EngineError, match="is not an exported file: give a .safetensors, .pt2 or .onnx file"):
        export.load(str(trained_run / "checkpoints" / "last.pt"))
    with pytest.raises(EngineError, match="cannot be read .No such file"):
        export.load(str(tmp_path / "none.onnx"))
    shutil.copy(out / "model.onnx", tmp_path / "model.pt2")
    with pytest.raises(EngineError, match="model.pt2 cannot be read as a torch.export program"):
        export.load(str(tmp_path / "model.pt2"))


def test_weights_with_settings_of_another_network_are_refused(exported, tmp_path):
    out, _ = exported
    weights, described = safetensors_file.from_bytes((out / "model.safetensors").read_bytes(), "m")
    path = tmp_path / "m.safetensors"
    settings = {**described["settings"], "model.width": 4}
    path.write_bytes(safetensors_file.to_bytes(weights, {**described, "settings": settings}))
    with pytest.raises(EngineError, match="is of another model: features.0.weight"):
        export.load(str(path))
    path.write_bytes(safetensors_file.to_bytes(weights, {**described, "settings": {"model.nme": "cnn"}}))
    with pytest.raises(RecipeError, match="model.nme is unknown; did you mean model.name"):
        export.load(str(path))
