"""Findings about machines that lack things, and the command that installs them."""

import shutil
from types import SimpleNamespace

import pytest

from engine.diagnostics import install, install_report
from engine.diagnostics.install import Finding, device_findings, disk_finding, ffcv_findings, torch_findings
from engine.diagnostics.install_report import mend_command

WORKS = {"import_s": 7.0, "layer": "omp"}
CPU = {"name": "a CPU", "precisions": ["fp32"], "auto": "fp32"}


@pytest.fixture
def machine(monkeypatch):
    """A complete machine with a virtual environment and root, to take things away from."""
    has = SimpleNamespace(program={"pkg-config", "g++"}, library={"opencv4", "libturbojpeg"},
                          packages={"ffcv": "1.0.2", "torch": "2.15.0", "torchvision": "0.30.0"})
    monkeypatch.setattr(install, "is_there", lambda kind, name: name in getattr(has, kind))
    monkeypatch.setattr(install, "installed", has.packages.get)
    monkeypatch.setattr(install_report.sys, "prefix", "/venv")
    monkeypatch.setattr(install_report.sys, "executable", "/venv/bin/python")
    monkeypatch.setattr(install.os, "geteuid", lambda: 0)
    return has


def test_a_complete_machine_needs_nothing(machine):
    findings = ffcv_findings(WORKS, torch_works=True) + torch_findings({"cpu": CPU})
    assert [finding.ok for finding in findings] == [True, True, None]
    assert mend_command(findings) is None


def test_missing_headers_matter_only_where_ffcv_must_be_compiled(machine):
    machine.library.clear()
    machine.program.remove("g++")
    assert mend_command(ffcv_findings(WORKS, torch_works=True)) is None
    missing = ffcv_findings(None, torch_works=True) + [Finding("ffcv", "not installed", "==1.0.2", False,
                                                               pip=("ffcv==1.0.2",))]
    assert mend_command(missing) == ("apt-get update && apt-get install -y g++ libopencv-dev libturbojpeg0-dev && "
                                     "/venv/bin/python -m pip install ffcv==1.0.2")


def test_without_root_apt_runs_by_sudo(machine, monkeypatch):
    monkeypatch.setattr(install.os, "geteuid", lambda: 1000)
    machine.library.clear()
    command = mend_command(ffcv_findings(None, torch_works=True))
    assert command == "sudo apt-get update && sudo apt-get install -y libopencv-dev libturbojpeg0-dev"


def test_ffcv_without_its_libraries_is_recompiled(machine):
    machine.library.remove("opencv4")
    broken = {"error": "ImportError: libopencv_core.so.406: cannot open shared object file", "lacks": None}
    command = mend_command(ffcv_findings(broken, torch_works=True))
    assert command == ("apt-get update && apt-get install -y libopencv-dev && /venv/bin/python -m pip install "
                       "--force-reinstall --no-deps --no-cache-dir ffcv==1.0.2")


@pytest.mark.parametrize("lacks, end", [
    ("cv2", "pip install ffcv==1.0.2"),
    ("ffcv._libffcv", "pip install --force-reinstall --no-deps --no-cache-dir ffcv==1.0.2"),
])
def test_the_missing_module_decides_the_repair_of_ffcv(machine, lacks, end):
    command = mend_command(ffcv_findings({"error": f"No module named '{lacks}'", "lacks": lacks}, torch_works=True))
    assert command.endswith(end) and "apt-get" not in command


def test_ffcv_is_not_blamed_for_torch(machine):
    findings = ffcv_findings({"error": "No module named 'torch'", "lacks": "torch"}, torch_works=False)
    assert [finding.ok for finding in findings] == [None]


def test_a_broken_torch_is_reinstalled_with_its_torchvision(machine):
    command = mend_command(torch_findings({"error": "operator torchvision::nms does not exist", "lacks": None}))
    assert command.endswith("--no-cache-dir torch==2.15.0 torchvision==0.30.0")
    assert mend_command(torch_findings({"error": "No module named 'sympy'", "lacks": "sympy"})) == (
        "/venv/bin/python -m pip install torch==2.15.0 torchvision==0.30.0")


def test_a_threading_layer_that_two_loaders_crash_is_replaced(machine):
    command = mend_command(ffcv_findings({**WORKS, "layer": "workqueue"}, torch_works=True))
    assert command == "/venv/bin/python -m pip install tbb"


def test_everything_missing_is_one_command_in_order(machine):
    findings = [Finding("a", "", "", False, pip=("a>=1", "b")), Finding("b", "", "", False, apt=("g++",), pip=("b",)),
                Finding("c", "", "", False, anew=("c==1",)), Finding("d", "", "", None, apt=("unneeded",))]
    assert mend_command(findings) == (
        "apt-get update && apt-get install -y g++ && /venv/bin/python -m pip install 'a>=1' b && "
        "/venv/bin/python -m pip install --force-reinstall --no-deps --no-cache-dir c==1")


def test_a_system_python_that_takes_no_packages_gets_a_venv(machine, monkeypatch, tmp_path):
    (tmp_path / "EXTERNALLY-MANAGED").write_text("")
    monkeypatch.setattr(install_report.sys, "prefix", install_report.sys.base_prefix)
    monkeypatch.setattr(install_report.sysconfig, "get_path", lambda name: str(tmp_path))
    assert mend_command([Finding("a", "", "", False, pip=("a",))]).startswith("make -C ")


def test_an_old_python_is_replaced_first(machine):
    findings = [Finding("Python", "3.9.1", ">=3.10", False), Finding("a", "", "", False, pip=("a",))]
    assert "PYTHON=" in mend_command(findings)


def test_packages_are_compared_with_their_version_bounds(machine, monkeypatch):
    machine.packages["torch"] = "2.9.0"
    monkeypatch.setattr(install, "requirements", lambda: [("torch", ">=2.10", ""), ("ffcv", "==1.0.2", ""),
                                                         ("fastargs", "==1.2.0", ""), ("tensorboard", ">=2", "tb")])
    monkeypatch.setattr(install, "python_floor", lambda: ">=3.10")
    findings = {finding.name: finding for finding in install.package_findings()}
    assert {name: finding.ok for name, finding in findings.items()} == {
        "Python": True, "torch": False, "ffcv": True, "fastargs": False, "tensorboard": None}
    assert findings["fastargs"].found == "not installed" and findings["fastargs"].pip == ("fastargs==1.2.0",)
    assert "[tb]" in findings["tensorboard"].found


def test_a_distribution_that_is_not_installed_comes_first(machine, monkeypatch):
    monkeypatch.setattr(install, "requirements", lambda: None)
    command = mend_command(install.package_findings())
    assert command == f"/venv/bin/python -m pip install -e {install.ROOT}"
    assert len(install.package_findings()) == 2


def test_devices_are_shown_with_their_precisions(monkeypatch):
    monkeypatch.setattr(install, "obstacle", lambda device_type: None)
    gpu = {"name": "A GPU", "memory_gib": 15.0, "capability": "7.5", "precisions": ["fp32", "fp16"], "auto": "fp16",
           "error": None}
    dead = {**gpu, "error": "no kernel image is available"}
    rows = {row.name: row.found for row in device_findings({"cpu": CPU, "gpus": [gpu, dead], "cuda": "13.0"})}
    assert rows["GPU 0"] == "A GPU, 15.0 GiB, capability 7.5; fp32, fp16; auto: fp16"
    assert "no kernel image" in rows["GPU 1"] and "cores usable" in rows["CPU"]
    assert rows["GPU kernels"] == "by Triton"
    monkeypatch.setattr(install, "obstacle", lambda device_type: "Triton is not installed")
    rows = {row.name: row.found for row in device_findings({"cpu": CPU, "gpus": [gpu], "cuda": "13.0"})}
    assert rows["GPU kernels"] == "none (Triton is not installed): augmentation on a GPU is slower"
    none = {row.name: row.found for row in device_findings({"cpu": CPU, "gpus": [], "cuda": None})}
    assert none["GPU"].startswith("none that torch (CPU only) can use")


def test_disk_is_measured_where_the_cache_will_be(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda place: asked.append(place) or SimpleNamespace(free=2**29))
    found = disk_finding(tmp_path / "not" / "yet").found
    assert asked == [tmp_path] and "0.5 GiB" in found and "little" in found
