"""Findings about the installation. Standard library only, as anything else may be missing."""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from engine.common.files import nearest_existing
from engine.diagnostics.probes import ROOT, run_probe
from engine.diagnostics.requirements import DISTRIBUTION, installed, python_floor, requirements, satisfies
from loaders.kernels.available import obstacle

# To compile FFCV: Debian's packages, and how to find each (as a program, or as a library that pkg-config knows).
BUILD_NEEDS = (("pkg-config", "program", "pkg-config"), ("g++", "program", "g++"),
               ("libopencv-dev", "library", "opencv4"), ("libturbojpeg0-dev", "library", "libturbojpeg"))
LITTLE_DISK_GIB = 1.0


@dataclass(frozen=True)
class Finding:
    """One row: `ok` is True, False (missing or broken) or None (information only). The remedy: Debian packages for apt,
    requirements for pip, and installed packages that pip must reinstall (`anew`)."""

    name: str
    found: str
    needed: str = ""
    ok: bool | None = None
    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()


def examine(cache: Path | None) -> list[Finding]:
    """All findings; takes as long as importing FFCV (about 7 s). `cache`: the betons' folder."""
    # In parallel they would slow each other, and FFCV's import is timed.
    torch, ffcv = (run_probe(name) if installed(name) else None for name in ("torch", "ffcv"))
    works = torch is not None and "error" not in torch
    findings = [*package_findings(), *torch_findings(torch), *ffcv_findings(ffcv, torch_works=works)]
    if works:
        findings += device_findings(torch)
    return [*findings, disk_finding(cache)] if cache else findings


def package_findings() -> list[Finding]:
    """Python and each required package with its version bound; optional packages with their extra."""
    python, wanted = platform.python_version(), requirements()
    if wanted is None:
        return [Finding("Python", python), Finding(DISTRIBUTION, "not installed: its requirements are unknown",
                                                   "installed", False, pip=("-e", str(ROOT)))]
    findings = [Finding("Python", python, python_floor(), satisfies(python, python_floor()))]
    for name, bound, extra in wanted:
        version = installed(name)
        if not extra:
            ok = version is not None and satisfies(version, bound)
            findings.append(Finding(name, version or "not installed", bound, ok, pip=() if ok else (name + bound,)))
        elif not any(finding.name == name for finding in findings):
            how = f"not installed: pip install '{DISTRIBUTION}[{extra}]'"
            findings.append(Finding(name, version or how, f"optional, {bound}"))
    return findings


def torch_findings(facts: dict | None) -> list[Finding]:
    """A row if torch or torchvision is installed but cannot be imported."""
    if facts is None or "error" not in facts:
        return []
    # pip install of an installed package adds its missing dependencies.
    remedy = {"pip" if facts["lacks"] else "anew": pinned("torch", "torchvision")}
    return [Finding("importing torch", facts["error"], "works", False, **remedy)]


def pinned(*names: str) -> tuple[str, ...]:
    """Requirements that pin the installed ones of these packages to their versions."""
    return tuple(f"{name}=={version}" for name in names if (version := installed(name)))


def ffcv_findings(facts: dict | None, torch_works: bool) -> list[Finding]:
    """Whether FFCV can be imported or compiled, and its threads. `facts`: the probe's, None if it is not installed."""
    absent = tuple(package for package, kind, name in BUILD_NEEDS if not is_there(kind, name))
    headers = "all there" if not absent else "absent: " + " ".join(absent)
    if facts is None:
        return [Finding("FFCV's headers", headers, "to compile FFCV", not absent, apt=absent)]
    if "error" in facts:
        if not torch_works:
            return [Finding("importing FFCV", "cannot be tried without torch", "works")]
        if facts["lacks"] and facts["lacks"].partition(".")[0] != "ffcv":
            return [Finding("importing FFCV", facts["error"], "works", False, pip=pinned("ffcv"))]
        # FFCV was compiled for another Python, or for libraries that are missing.
        return [Finding("importing FFCV", facts["error"], "works", False, apt=absent, anew=pinned("ffcv"))]
    safe = facts["layer"] != "workqueue"
    return [Finding("importing FFCV", f"{facts['import_s']:.1f} s", "works", True),
            Finding("numba's threads", facts["layer"], "omp or tbb", safe, pip=() if safe else ("tbb",)),
            Finding("FFCV's headers", headers, "only to compile FFCV")]


def is_there(kind: str, name: str) -> bool:
    """Whether a program is on the PATH, or pkg-config knows the headers of a library."""
    if not shutil.which(name if kind == "program" else "pkg-config"):
        return False
    return kind == "program" or not subprocess.run(["pkg-config", "--exists", name], capture_output=True).returncode


def device_findings(facts: dict) -> list[Finding]:
    """The CPU and each GPU with their precisions."""
    def precisions(device: dict) -> str:
        return f"{', '.join(device['precisions'])}; auto: {device['auto']}"

    cores = len(os.sched_getaffinity(0))
    rows = [Finding("CPU", f"{facts['cpu']['name']}, {cores} cores usable; {precisions(facts['cpu'])}")]
    for index, gpu in enumerate(facts["gpus"]):
        can = f"torch fails on it: {gpu['error']}" if gpu["error"] else precisions(gpu)
        rows.append(Finding(f"GPU {index}", f"{gpu['name']}, {gpu['memory_gib']} GiB, capability {gpu['capability']}; "
                                            f"{can}"))
    if facts["gpus"]:
        why = obstacle("cuda")
        rows.append(Finding("GPU kernels", f"none ({why}): augmentation on a GPU is slower" if why else "by Triton",
                            "optional, triton"))
    else:
        driver = Path("/proc/driver/nvidia/version").exists()
        built = f"CUDA {facts['cuda']}" if facts["cuda"] else "CPU only"
        rows.append(Finding("GPU", f"none that torch ({built}) can use" + (
            ", though NVIDIA's driver is loaded: is it too old?" if driver else "")))
    return rows


def disk_finding(cache: Path) -> Finding:
    """Free space in the betons' folder."""
    place = nearest_existing(cache)
    free_gib = shutil.disk_usage(place).free / 2**30
    warning = " (little: CIFAR's betons take 0.2 each)" if free_gib < LITTLE_DISK_GIB else ""
    if not os.access(place, os.W_OK):
        warning += " (not writable: choose another with --data.cache)"
    return Finding("disk for betons", f"{free_gib:,.1f} GiB free at {cache}{warning}")
