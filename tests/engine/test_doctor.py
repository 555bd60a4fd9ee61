"""The command: on machines that lack things, in processes of their own, and with a recipe."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.cli.parser import USER_ERRORS, run_command
from engine.diagnostics import peaks, suggestions
from engine.diagnostics.advice import rate_text
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
    """Run the command with a distribution and an ffcv of our own; modules in `block` cannot be imported."""
    about = folder / "cadence_train-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(METADATA + "".join(f"Requires-Dist: {line}\n" for line in requires))
    package = folder / "ffcv"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "loader.py").touch()
    (folder / "sitecustomize.py").write_text(BLOCKER.format(names=set(block)))
    # From this folder: in the repository, an installed checkout's metadata would come first.
    done = subprocess.run([sys.executable, *flags, "-m", "engine.doctor", *arguments], cwd=folder, capture_output=True,
                          text=True, timeout=120, env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"})
    assert "Traceback" not in done.stdout + done.stderr
    return done


imports_packages = pytest.mark.slow("starts a process that looks for packages")


@imports_packages
def test_a_machine_with_everything(tmp_path):
    done = doctor(tmp_path, "--json", str(tmp_path / "out.json"))
    report = json.loads((tmp_path / "out.json").read_text())
    if not report["ok"]:
        assert report["mend"] in done.stdout and done.returncode == 1
        pytest.fail(f"this machine lacks something: {report['mend']}")
    assert done.returncode == 0 and done.stdout.rstrip().endswith("everything is there")
    assert {"Python", "torch", "ffcv", "importing FFCV", "CPU"} <= {row["name"] for row in report["findings"]}


@imports_packages
def test_ffcv_that_cannot_be_imported(tmp_path):
    done = doctor(tmp_path, "--json", str(tmp_path / "out.json"), block=["ffcv"])
    report = json.loads((tmp_path / "out.json").read_text())
    rows = {row["name"]: row for row in report["findings"]}
    assert done.returncode == 1 and rows["importing FFCV"]["ok"] is False and rows["CPU"]["found"]
    assert "ffcv==1.0.2" in report["mend"] and report["mend"] in done.stdout


@imports_packages
def test_torch_that_cannot_be_imported(tmp_path):
    done = doctor(tmp_path, block=["torch", "ffcv"])
    assert done.returncode == 1
    assert "No module named 'torch'" in done.stdout and "cannot be tried without torch" in done.stdout
    assert "pip install" in done.stdout.splitlines()[-2] and "torch==" in done.stdout.splitlines()[-2]


@imports_packages
def test_a_version_that_is_too_old(tmp_path):
    done = doctor(tmp_path, requires=["rich>=999"], block=["torch", "ffcv"])
    assert done.returncode == 1 and "'rich>=999'" in done.stdout.splitlines()[-2]


@imports_packages
def test_a_bare_python_without_any_package(tmp_path):
    done = doctor(tmp_path, flags=["-S"])
    assert done.returncode == 1 and "not installed" in done.stdout
    assert "to install what is missing" in done.stdout


@imports_packages
def test_a_bare_python_refuses_a_wrong_option_in_one_line(tmp_path):
    done = doctor(tmp_path, "--jsn", "x", flags=["-S"])
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--jsn" in done.stderr


@pytest.mark.parametrize("arguments, reason", [
    (["--jsn", "x"], "--jsn"), (["--js", "x"], "--js"), (["--json"], "--json"),
    (["--json", f"{__file__}/out.json"], "cannot be written"),
])
def test_a_wrong_option_is_one_line(arguments, reason, capsys):
    with pytest.raises(SystemExit) as end:
        run_command(lambda: main(arguments))
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1 and reason in said


SMALL = ["--recipe=quickstart", "--data.train_count=300", "--data.test_count=100", "--data.resolution=16",
         "--train.batch=60", "--model.width=8", "--train.device=cpu", "--train.precision=fp32"]


@pytest.mark.slow("builds a run and measures its parts")
def test_a_recipe_is_measured_and_shown_what_bounds_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(peaks.MATRIX_SIDE, "cpu", 256)
    # A setting that compiles would take a minute.
    monkeypatch.setattr(suggestions, "measure_with", lambda recipe, changes, *_: 1e9 if changes else 1.0)
    out, extra = tmp_path / "out", tmp_path / "extra.json"
    assert main([*SMALL, f"--data.cache={tmp_path}", "--seconds", "0.1", "--json", str(extra), "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert not shown.err
    assert sorted(path.name for path in out.iterdir()) == ["doctor.json", "roofline.png"]
    report = json.loads((out / "doctor.json").read_text())
    assert report == json.loads(extra.read_text())
    rates, found = report["rates"], report["verdict"]
    assert rates["transfer"] is None and min(rates["feed"], rates["step"], rates["together"]) > 0
    assert found["bound"] in ("feed", "step", "shared")
    words = " ".join(shown.out.split())
    assert found["sentence"] in words and str(out / "roofline.png") in words
    for name in ("feed", "step", "together"):
        assert f"{rate_text(rates[name])} images/s" in words
    assert [trial["setting"] for trial in report["trials"]] == sorted(
        (advice["setting"] for advice in found["advice"]), key=lambda setting: setting == "train.step=compile")
    assert report["as_it_is_images_s"] == rates["together"]
    for trial in report["trials"]:
        assert f"{trial['setting']} │ 1,000,000,000 images/s together" in words
    assert "at most" not in words
    assert report["step_flops_s"] == pytest.approx(rates["step"] * report["work"]["flops"])
    assert report["command"].startswith("python -m engine.doctor --recipe quickstart --data.train_count=300")
    assert report["command"].endswith("--seconds 0.1")
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
def test_a_refusal_is_one_line_before_any_work(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(USER_ERRORS) as error:
        main(arguments)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@imports_packages
def test_a_recipe_without_a_package_it_needs_is_one_line(tmp_path):
    done = doctor(tmp_path, "--recipe=quickstart", block=["torch"])
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "No module named 'torch'" in done.stderr and "python -m engine.doctor shows" in done.stderr


def test_help_with_a_recipe_shows_the_settings(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--recipe", "--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0 and "--seconds S" in shown and "train.batch" in shown
