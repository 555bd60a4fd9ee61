"""The door, run as people run it: on machines that lack things, and with a recipe."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.common.errors import EngineError
from engine.diagnostics.advice import in_figures
from engine.doctor import main

ROOT = Path(__file__).resolve().parents[2]
METADATA = "Metadata-Version: 2.1\nName: cadence-train\nVersion: 0.1.0\nRequires-Python: >=3.10\n"

BLOCKER = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
"""


def doctor(folder, *arguments, requires=("torch>=2.10", "ffcv==1.0.2"), block=(), flags=()):
    """Run the door with an installed distribution and an ffcv of our own; modules in `block` cannot be imported."""
    about = folder / "cadence_train-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(METADATA + "".join(f"Requires-Dist: {line}\n" for line in requires))
    package = folder / "ffcv"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "loader.py").touch()
    (folder / "sitecustomize.py").write_text(BLOCKER.format(names=set(block)))
    # From the planted folder: in the repository's own, an installed checkout's metadata would come first.
    done = subprocess.run([sys.executable, *flags, "-m", "engine.doctor", *arguments], cwd=folder, capture_output=True,
                          text=True, timeout=120, env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"})
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_a_machine_with_everything(tmp_path):
    done = doctor(tmp_path, "--json", str(tmp_path / "out.json"))
    report = json.loads((tmp_path / "out.json").read_text())
    if not report["ok"]:
        assert report["mend"] in done.stdout and done.returncode == 1
        pytest.fail(f"this machine lacks something: {report['mend']}")
    assert done.returncode == 0 and done.stdout.rstrip().endswith("everything is there")
    assert {"Python", "torch", "ffcv", "importing FFCV", "CPU"} <= {row["name"] for row in report["findings"]}


def test_ffcv_that_cannot_be_imported(tmp_path):
    done = doctor(tmp_path, "--json", str(tmp_path / "out.json"), block=["ffcv"])
    report = json.loads((tmp_path / "out.json").read_text())
    rows = {row["name"]: row for row in report["findings"]}
    assert done.returncode == 1 and rows["importing FFCV"]["ok"] is False and rows["CPU"]["found"]
    assert "ffcv==1.0.2" in report["mend"] and report["mend"] in done.stdout


def test_torch_that_cannot_be_imported(tmp_path):
    done = doctor(tmp_path, block=["torch", "ffcv"])
    assert done.returncode == 1
    assert "No module named 'torch'" in done.stdout and "cannot be tried without torch" in done.stdout
    assert "pip install" in done.stdout.splitlines()[-2] and "torch==" in done.stdout.splitlines()[-2]


def test_a_version_that_is_too_old(tmp_path):
    done = doctor(tmp_path, requires=["rich>=999"], block=["torch", "ffcv"])
    assert done.returncode == 1 and "'rich>=999'" in done.stdout.splitlines()[-2]


def test_a_bare_python_without_any_package(tmp_path):
    done = doctor(tmp_path, flags=["-S"])
    assert done.returncode == 1 and "not installed" in done.stdout
    assert "to mend what is missing" in done.stdout


@pytest.mark.parametrize("arguments, reason", [
    (["--jsn", "x"], "--jsn"), (["--js", "x"], "--js"), (["--json"], "--json"),
])
def test_a_wrong_option_is_one_line(tmp_path, arguments, reason):
    done = doctor(tmp_path, *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and reason in done.stderr


def test_a_report_that_cannot_be_written_is_one_line(tmp_path):
    done = doctor(tmp_path, "--json", str(tmp_path / "no" / "folder" / "out.json"), block=["torch", "ffcv"])
    assert done.returncode == 2 and "cannot be written" in done.stderr and done.stderr.count("\n") == 1


SMALL = ["--recipe=quickstart", "--data.train_count=300", "--data.test_count=100", "--data.resolution=16",
         "--train.batch=60", "--model.width=8", "--train.device=cpu", "--train.precision=fp32"]


def of_recipe(*arguments):
    """The door with a recipe, from the repository."""
    return subprocess.run([sys.executable, "-m", "engine.doctor", *map(str, arguments)], cwd=ROOT, capture_output=True,
                          text=True, timeout=300)


def test_a_recipe_is_measured_and_told_what_bounds_it(tmp_path):
    out, extra = tmp_path / "out", tmp_path / "extra.json"
    done = of_recipe(*SMALL, f"--data.cache={tmp_path}", "--seconds", 0.3, "--json", extra, "--out", out)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["doctor.json", "roofline.png"]
    report = json.loads((out / "doctor.json").read_text())
    assert report == json.loads(extra.read_text())
    rates, found = report["rates"], report["verdict"]
    assert rates["transfer"] is None and min(rates["feed"], rates["step"], rates["together"]) > 0
    assert found["bound"] in ("feed", "step", "shared")
    words = " ".join(done.stdout.split())
    assert found["sentence"] in words and str(out / "roofline.png") in words
    for name in ("feed", "step", "together"):
        assert f"{in_figures(rates[name])} images/s" in words
    for advice in found["advice"]:
        assert advice["setting"] in words and in_figures(advice["at_most_images_s"]) in words
    assert report["step_flops_s"] == pytest.approx(rates["step"] * report["work"]["flops"])
    assert report["command"].startswith("python -m engine.doctor --recipe quickstart --data.train_count=300")
    assert report["command"].endswith("--seconds 0.3")
    assert np.asarray(Image.open(out / "roofline.png").convert("RGB")).std() > 5


@pytest.mark.parametrize("arguments, message", [
    (["--recipe"], "--recipe: expected one argument"),
    (["--recipe", "quickstar"], "did you mean quickstart"),
    (["--recipe=quickstart", "--seconds=0"], "--seconds=0 must be from 0.1 to 600"),
    (["--recipe=quickstart", "--seconds=nan"], "--seconds=nan must be"),
    (["--recipe=quickstart", "--seconds=long"], "--seconds: invalid float value: 'long'"),
    (["--recipe=quickstart", "--jsn=x"], "--jsn=x is unknown; did you mean --json"),
    (["--recipe=quickstart", "--run.folder=x"], "--run.folder has no effect on what bounds a run"),
    (["--recipe=quickstart", "--train.epochs=3"], "--train.epochs has no effect"),
    (["--recipe=quickstart", "--train.bach=3"], "train.bach is unknown; did you mean train.batch"),
    (["--recipe=quickstart", "--augment.policy=blurr(kernel_px=3)"], "did you mean blur"),
    (["--seconds=3"], "--seconds=3 is unknown, or needs --recipe NAME"),
    (["--data.root=x"], "--data.root=x is unknown, or needs --recipe NAME"),
])
def test_what_a_diagnosis_refuses_is_one_line_before_any_work(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError) as error:
        main(arguments)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_recipe_without_what_it_needs_is_one_line(tmp_path):
    done = doctor(tmp_path, "--recipe=quickstart", block=["torch"])
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "No module named 'torch'" in done.stderr and "python -m engine.doctor alone says" in done.stderr


def test_help_with_a_recipe_shows_the_settings():
    done = of_recipe("--recipe", "--help")
    assert done.returncode == 0 and "--seconds S" in done.stdout and "train.batch" in done.stdout
