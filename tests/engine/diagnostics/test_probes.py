"""Probes of imports that work, fail, crash or hang."""

import pytest

from engine.diagnostics import probes

starts_a_process = pytest.mark.slow("a probe is a process of its own")


def plant(folder, monkeypatch, text):
    """An ffcv package of our own, found before the installed one."""
    package = folder / "ffcv"
    package.mkdir()
    (package / "__init__.py").write_text(text)
    (package / "loader.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@starts_a_process
def test_a_probe_that_works_times_the_import_and_names_the_layer(tmp_path, monkeypatch):
    plant(tmp_path, monkeypatch, "print('a package that talks')")
    facts = probes.run_probe("ffcv")
    assert facts["import_s"] >= 0 and facts["layer"] in ("tbb", "omp", "workqueue")


@starts_a_process
@pytest.mark.parametrize("text, reason, lacks", [
    ("import surely_absent_module", "No module named 'surely_absent_module'", "surely_absent_module"),
    ("raise ImportError('libturbojpeg.so.0: cannot open shared object file')", "libturbojpeg.so.0", None),
    ("raise RuntimeError('several\\n lines')", "RuntimeError: several lines", None),
    ("import os, sys; sys.stderr.write('segfault here'); sys.stderr.flush(); os.abort()", "segfault here", None),
    ("import os; os._exit(3)", "status 3: without a message", None),
])
def test_an_import_that_fails_or_crashes_is_one_line(tmp_path, monkeypatch, text, reason, lacks):
    plant(tmp_path, monkeypatch, text)
    facts = probes.run_probe("ffcv")
    assert reason in facts["error"] and "\n" not in facts["error"]
    assert facts["lacks"] == lacks


@starts_a_process
def test_an_import_that_hangs_is_ended(tmp_path, monkeypatch):
    plant(tmp_path, monkeypatch, "import threading; threading.Event().wait()")
    assert "more than 0.5 s" in probes.run_probe("ffcv", limit_s=0.5)["error"]


def test_torch_reports_the_cpu_and_the_chosen_precision():
    cpu = probes.torch_facts()["cpu"]
    assert cpu["precisions"][0] == "fp32" and cpu["auto"] in ("fp32", "bf16")
