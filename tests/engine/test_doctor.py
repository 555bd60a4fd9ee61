"""The door, run as people run it, on machines that lack things."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
