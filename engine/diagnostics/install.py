"""What is installed and what it can do, as findings; and the one command that mends what is missing.

Needs nothing but Python itself: it must speak where torch, FFCV or anything else is absent.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from engine.diagnostics.probes import ROOT, run_probe
from engine.diagnostics.requirements import DISTRIBUTION, installed, python_floor, requirements, satisfies

# What FFCV is compiled with: Debian's package, and how it is looked for (a program, or a library by pkg-config).
BUILD_NEEDS = (("pkg-config", "program", "pkg-config"), ("g++", "program", "g++"),
               ("libopencv-dev", "library", "opencv4"), ("libturbojpeg0-dev", "library", "libturbojpeg"))
LITTLE_DISK_GIB = 1.0


@dataclass(frozen=True)
class Finding:
    """One row: `ok` True, False (something to mend) or None (good to know).

    What mends it: Debian packages, requirements for pip, and packages to install anew though they are there.
    """

    name: str
    found: str
    needed: str = ""
    ok: bool | None = None
    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()


def examine(cache: Path | None) -> list[Finding]:
    """Look at everything; takes as long as importing FFCV does (about 7 s). `cache` is where betons are kept."""
    # One after the other: side by side they would slow each other, and FFCV's import is timed.
    torch, ffcv = (run_probe(name) if installed(name) else None for name in ("torch", "ffcv"))
    works = torch is not None and "error" not in torch
    findings = [*package_findings(), *torch_findings(torch), *ffcv_findings(ffcv, torch_works=works)]
    if works:
        findings += device_findings(torch)
    return findings + extra_findings() + ([disk_finding(cache)] if cache else [])


def package_findings() -> list[Finding]:
    """Python and each needed package against its floor or pin."""
    wanted = requirements()
    if wanted is None:
        return [Finding("Python", platform.python_version()),
                Finding(DISTRIBUTION, "not installed: what it needs cannot be looked up", "installed", False,
                        pip=("-e", str(ROOT)))]
    floor = python_floor()
    findings = [Finding("Python", platform.python_version(), floor, satisfies(platform.python_version(), floor))]
    for name, bound, extra in wanted:
        if extra:
            continue
        version = installed(name)
        ok = version is not None and satisfies(version, bound)
        findings.append(Finding(name, version or "not installed", bound, ok, pip=() if ok else (name + bound,)))
    return findings


def torch_findings(facts: dict | None) -> list[Finding]:
    """A row where torch or torchvision is installed and cannot be imported."""
    if facts is None or "error" not in facts:
        return []
    if facts["lacks"]:
        # pip adds what an installed package lacks when it is asked for that package again.
        return [Finding("importing torch", facts["error"], "works", False, pip=pinned("torch", "torchvision"))]
    return [Finding("importing torch", facts["error"], "works", False, anew=pinned("torch", "torchvision"))]


def pinned(*names: str) -> tuple[str, ...]:
    """Requirements for the versions that are installed, of those names that are."""
    return tuple(f"{name}=={version}" for name in names if (version := installed(name)))


def ffcv_findings(facts: dict | None, torch_works: bool) -> list[Finding]:
    """Whether FFCV can be imported, on which threads it runs, and what it is compiled with.

    `facts` are the probe's, None where FFCV is not installed.
    """
    absent = missing_build_needs()
    headers = "all there" if not absent else "absent: " + " ".join(absent)
    if facts is None:
        return [Finding("FFCV's headers", headers, "to compile FFCV", not absent, apt=absent)]
    if "error" in facts:
        if not torch_works:
            return [Finding("importing FFCV", "cannot be tried without torch", "works")]
        if facts["lacks"] and facts["lacks"].partition(".")[0] != "ffcv":
            return [Finding("importing FFCV", facts["error"], "works", False, pip=pinned("ffcv"))]
        # FFCV was compiled for another Python, or for libraries that are not here.
        return [Finding("importing FFCV", facts["error"], "works", False, apt=absent, anew=pinned("ffcv"))]
    safe = facts["layer"] != "workqueue"
    return [Finding("importing FFCV", f"{facts['import_s']:.1f} s", "works", True),
            Finding("numba's threads", facts["layer"], "omp or tbb", safe,
                    pip=() if safe else ("tbb",)),
            Finding("FFCV's headers", headers, "only to compile FFCV")]


def missing_build_needs() -> tuple[str, ...]:
    """Debian packages that compiling FFCV would need and that are not here."""
    return tuple(package for package, kind, name in BUILD_NEEDS
                 if not (has_program(name) if kind == "program" else has_library(name)))


def has_program(name: str) -> bool:
    """True where the program is on the PATH."""
    return shutil.which(name) is not None


def has_library(name: str) -> bool:
    """True where pkg-config knows the library's headers."""
    try:
        return subprocess.run(["pkg-config", "--exists", name], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def device_findings(facts: dict) -> list[Finding]:
    """The CPU and each GPU with what they can compute in."""
    cpu = facts["cpu"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows = [Finding("CPU", f"{cpu['name']}, {cores} cores usable; {', '.join(cpu['precisions'])}; auto: {cpu['auto']}")]
    for index, gpu in enumerate(facts["gpus"]):
        about = f"{gpu['name']}, {gpu['memory_gib']} GiB, capability {gpu['capability']}; "
        can = f"{', '.join(gpu['precisions'])}; auto: {gpu['auto']}"
        rows.append(Finding(f"GPU {index}", about + (f"torch fails on it: {gpu['error']}" if gpu["error"] else can)))
    if not facts["gpus"]:
        driver = Path("/proc/driver/nvidia/version").exists()
        built = f"CUDA {facts['cuda']}" if facts["cuda"] else "CPU only"
        rows.append(Finding("GPU", f"none that torch ({built}) can use" + (
            ", though NVIDIA's driver is loaded: is it too old?" if driver else "")))
    return rows


def extra_findings() -> list[Finding]:
    """Optional packages, each with the extras that bring it."""
    brings: dict[tuple[str, str], list[str]] = {}
    for name, bound, extra in requirements() or []:
        if extra:
            brings.setdefault((name, bound), []).append(extra)
    rows = []
    for (name, bound), extras in brings.items():
        how = f"not installed: pip install '{DISTRIBUTION}[{extras[0]}]'"
        rows.append(Finding(name, installed(name) or how, f"optional, {bound}"))
    return rows


def disk_finding(cache: Path) -> Finding:
    """Free space where betons are kept."""
    place = cache
    while not place.exists():
        place = place.parent
    free_gib = shutil.disk_usage(place).free / 2**30
    warning = " (little: CIFAR's betons take 0.2 each)" if free_gib < LITTLE_DISK_GIB else ""
    if not os.access(place, os.W_OK):
        warning += " (not writable: choose another with --data.cache)"
    return Finding("disk for betons", f"{free_gib:,.1f} GiB free at {cache}{warning}")


def mend_command(findings: list[Finding]) -> str | None:
    """One shell line that mends every finding that is not ok; None where there is nothing to mend."""
    bad = [finding for finding in findings if finding.ok is False]
    if not bad:
        return None
    if any(finding.name == "Python" for finding in bad):
        return "make clean setup PYTHON=python3.12  # or another Python that is new enough"
    if sys.prefix == sys.base_prefix and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists():
        # Debian's own Python takes no packages from pip.
        return shlex.join(["make", "-C", str(ROOT), "setup"]) + "  # then use its .venv/bin/python"
    apt, pip, anew = (tuple(dict.fromkeys(item for finding in bad for item in getattr(finding, kind)))
                      for kind in ("apt", "pip", "anew"))
    sudo = "" if os.geteuid() == 0 else "sudo "
    install = [sys.executable, "-m", "pip", "install"]
    steps = []
    if apt:
        steps.append(f"{sudo}apt-get update && {sudo}apt-get install -y {shlex.join(apt)}")
    if pip:
        steps.append(shlex.join([*install, *pip]))
    if anew:
        # A wheel that pip has cached would be the one that was compiled for other libraries.
        steps.append(shlex.join([*install, "--force-reinstall", "--no-deps", "--no-cache-dir", *anew]))
    return " && ".join(steps)
