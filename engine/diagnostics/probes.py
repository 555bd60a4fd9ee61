"""Facts that only importing torch or FFCV shows, from a child process, which contains crashes, hangs, seconds of
compilation, and the thread counts that FFCV sets."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120.0


def torch_facts() -> dict:
    """Each device with its precisions and the one that `train.precision=auto` chooses."""
    import torch
    import torchvision

    from engine.common.environment import processor_name
    from engine.training.precision import resolve

    auto = resolve("auto", torch.device("cpu"))
    cpu = {"name": processor_name(), "precisions": ["fp32", "bf16" if auto == "bf16" else "bf16 (slower here)"],
           "auto": auto}
    gpus = [gpu_facts(torch.device("cuda", index)) for index in range(torch.cuda.device_count())]
    return {"torchvision": torchvision.__version__, "cuda": torch.version.cuda, "cpu": cpu, "gpus": gpus}


def gpu_facts(device) -> dict:
    """A GPU; `error`: why torch cannot compute on it, None if it can."""
    import torch

    from engine.training.precision import resolve

    about = torch.cuda.get_device_properties(device)
    precisions = ["fp32", "fp16"] + ["bf16"] * ((about.major, about.minor) >= (8, 0))
    try:
        # torch may have been built without kernels for a GPU that it lists.
        torch.ones(1, device=device).add_(1).item()
        error = None
    except RuntimeError as failure:
        error = str(failure).splitlines()[0]
    return {"name": about.name, "memory_gib": round(about.total_memory / 2**30, 1),
            "capability": f"{about.major}.{about.minor}", "precisions": precisions, "auto": resolve("auto", device),
            "error": error}


def ffcv_facts() -> dict:
    """How long importing FFCV's loader takes, and numba's threading layer."""
    began = time.perf_counter()
    import ffcv.loader  # noqa: F401

    import_s = time.perf_counter() - began
    import numba

    # This makes numba choose the layer.
    numba.get_num_threads()
    return {"import_s": round(import_s, 2), "layer": numba.threading_layer()}


def print_facts(name: str) -> None:
    """In the child: print a probe's facts as a line of JSON; for a failed import, the error and the missing module."""
    try:
        facts = {"torch": torch_facts, "ffcv": ffcv_facts}[name]()
    except Exception as error:
        lacks = error.name if isinstance(error, ModuleNotFoundError) else None
        facts = {"error": f"{type(error).__name__}: {error}", "lacks": lacks}
    print("\n" + json.dumps(facts), flush=True)


def run_probe(name: str, limit_s: float = LIMIT_S) -> dict:
    """A probe's facts; or `error` (one line) and `lacks` (the module that was not found, None for another failure)."""
    paths = [os.environ.get("PYTHONPATH", ""), str(ROOT)]
    try:
        script = f"from engine.diagnostics.probes import print_facts; print_facts({name!r})"
        child = subprocess.run([sys.executable, "-c", script],
                               env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                               stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return {"error": f"importing it took more than {limit_s:g} s", "lacks": None}
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["without a message"])[-1]
        return {"error": f"importing it ended with status {child.returncode}: {last}", "lacks": None}
    facts = json.loads(child.stdout.splitlines()[-1])
    if "error" in facts:
        facts["error"] = " ".join(facts["error"].split())[:300]
    return facts
