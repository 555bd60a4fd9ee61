"""The real commands, end to end, on the embedded data set and on real CIFAR where it is there."""

import contextlib
import csv
import importlib
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.cli.parser import run_command
from engine.storage.history import read_history
from recipes.settings.load import load, read_file

ROOT = Path(__file__).resolve().parents[1]
CIFAR = ROOT.parent / "shared" / "data"
REPORTED = ["--data.train_count=600", "--data.test_count=200", "--data.resolution=16", "--train.batch=50",
            "--model.width=4", "--model.depth=3", "--train.epochs=2", "--eval.batch=100", "--train.threads=1"]
SMALL = [*REPORTED, "--run.report=false"]
SUMMARY = {"recipe", "dataset", "model", "parameters", "epochs", "steps", "train_top1", "val_top1", "test_top1",
           "test_loss", "train_seconds", "epochs_per_second", "images_per_second", "compile_seconds", "device",
           "precision", "seed", "weights_sha256", "command", "versions"}


pytestmark = pytest.mark.slow("the real commands train, and some start as processes")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def command(*words, status=0):
    done = subprocess.run([sys.executable, "-m", *map(str, words)], cwd=ROOT, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def inside(module, *words, status=0):
    """As `command`, in this process: where what the command does is the point, and not its start."""
    main = importlib.import_module(module).main
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run_command(lambda: main([str(word) for word in words]))
    assert (ended.value.code or 0) == status, out.getvalue() + err.getvalue()
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())


def train(folder, cache, *words, status=0):
    return inside("engine.train", "--recipe", "quickstart", *SMALL, f"--data.cache={cache}", f"--run.folder={folder}",
                  *words, status=status)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("runs") / "first"
    done = command("engine.train", "--recipe", "quickstart", *REPORTED, f"--data.cache={cache}",
                   f"--run.folder={folder}", "--checkpoint.every=1", "--log.to=tensorboard")
    return folder, done.stdout


def test_a_run_leaves_what_it_promises(run):
    folder, shown = run
    for name in ("config.yaml", "command.txt", "env.json", "metrics.csv", "metrics.npz", "summary.json",
                 "checkpoints/last.pt", "checkpoints/best.pt", "checkpoints/epoch_001.pt",
                 "checkpoints/epoch_002.pt", "plots/overview.png", "plots/loss.png", "plots/accuracy.png",
                 "plots/learning_rate.png", "report.html"):
        assert (folder / name).stat().st_size > 0, name
    assert list((folder / "tensorboard").iterdir())
    assert SUMMARY <= set(summary(folder))
    assert str(folder) in shown and "\x1b" not in shown
    assert len(re.findall("^epoch ", shown, re.MULTILINE)) == 2


def test_both_metric_files_say_the_same(run):
    folder, _ = run
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    lines = read_history(folder / "metrics.csv", [])
    arrays = np.load(folder / "metrics.npz")
    assert [int(row["epoch"]) for row in rows] == [line["epoch"] for line in lines] == [0, 1]
    assert arrays["epoch"].tolist() == [0, 1]
    assert [float(row["train_loss"]) for row in rows] == [line["train_loss"] for line in lines]
    assert rows[0]["test_top1"] == "" and lines[0]["test_top1"] is None and np.isnan(arrays["test_top1"]).all()


def test_the_recorded_rates_are_the_plans(run):
    from engine.build.plan import make_plan

    folder, _ = run
    planned = make_plan(load("quickstart", str(folder / "config.yaml")))["lr_after_epoch"]
    assert [row["lr"] for row in read_history(folder / "metrics.csv", [])] == planned


def test_config_yaml_holds_the_whole_recipe(run):
    folder, _ = run
    loaded = load("quickstart", str(folder / "config.yaml"))
    assert loaded.values == load("quickstart", settings=read_file(str(folder / "config.yaml"))).values
    assert loaded.values["train.epochs"] == 2


def test_the_commands_of_a_run_give_the_same_weights_again(run, tmp_path, cache):
    folder, _ = run
    words = (folder / "command.txt").read_text().split()
    assert words[:3] == ["python", "-m", "engine.train"] and words == summary(folder)["command"].split()
    assert not [word for word in words if "run.folder" in word]
    inside("engine.train", *words[3:], f"--run.folder={tmp_path}/again")
    assert summary(tmp_path / "again")["weights_sha256"] == summary(folder)["weights_sha256"]


def test_another_seed_gives_other_weights(run, tmp_path, cache):
    train(tmp_path / "other", cache, "--train.seed=1")
    assert summary(tmp_path / "other")["weights_sha256"] != summary(run[0])["weights_sha256"]


def test_a_run_stopped_by_ctrl_c_goes_on_to_the_same_weights(run, tmp_path, cache):
    folder = tmp_path / "stopped"
    words = [sys.executable, "-m", "engine.train", "--recipe", "quickstart", *SMALL, f"--data.cache={cache}",
             f"--run.folder={folder}", "--checkpoint.every=1", "--checkpoint.every_minutes=0.00001",
             "--log.to=tensorboard"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.pt").exists():
        assert process.poll() is None and time.monotonic() < deadline
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and f"--resume {folder}" in shown
    assert not (folder / "summary.json").exists()
    command("engine.train", "--resume", folder)
    assert summary(folder)["weights_sha256"] == summary(run[0])["weights_sha256"]
    assert summary(folder)["steps"] == summary(run[0])["steps"]
    ours, theirs = ([row["train_loss"] for row in read_history(place / "metrics.csv", [])]
                    for place in (folder, run[0]))
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_a_closed_terminal_ends_no_run(tmp_path, cache):
    words = [sys.executable, "-m", "engine.train", "--recipe", "quickstart", *SMALL, f"--data.cache={cache}",
             f"--run.folder={tmp_path}/run"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    assert process.wait(timeout=120) == 0
    assert summary(tmp_path / "run")["epochs"] == 2 and (tmp_path / "run" / "output_lost.txt").is_file()


def test_output_in_another_encoding_ends_no_command(tmp_path, cache):
    words = ["engine.train", "--recipe", "quickstart", *SMALL, f"--data.cache={cache}", f"--run.folder={tmp_path}/rü"]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, timeout=120,
                          env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and b"r\\xfc" in done.stdout, done.stderr


def test_a_finished_run_has_nothing_to_go_on_with(run):
    done = command("engine.train", "--resume", run[0], status=2)
    assert "is finished" in done.stderr and done.stderr.count("\n") == 1


def test_evaluate_gives_the_runs_own_test_figures(run, tmp_path):
    folder, _ = run
    command("engine.evaluate", folder, "--json", tmp_path / "e.json", "--out", tmp_path)
    measured = json.loads((tmp_path / "e.json").read_text())
    assert measured["test_top1"] == summary(folder)["test_top1"]
    assert measured["test_loss"] == pytest.approx(summary(folder)["test_loss"], rel=1e-6)
    assert len(measured["per_class"]) == 10
    table = list(csv.reader((tmp_path / "confusion.csv").open()))
    counts = np.array([row[1:] for row in table[1:]], dtype=int)
    assert counts.sum() == 200 and np.trace(counts) / 200 == measured["test_top1"]
    assert (tmp_path / "confusion.png").stat().st_size > 0


def test_evaluate_refuses_another_data_set_and_a_damaged_checkpoint(run, tmp_path):
    folder, _ = run
    done = inside("engine.evaluate", folder, "--data.classes=20", status=2)
    assert "knows 10 classes" in done.stderr and done.stderr.count("\n") == 1
    whole = (folder / "checkpoints" / "last.pt").read_bytes()
    (tmp_path / "bad.pt").write_bytes(whole[:2000] + b"\xff" + whole[2001:])
    assert "damaged" in inside("engine.evaluate", tmp_path / "bad.pt", status=2).stderr


def test_the_plan_of_resnet34_is_the_seeds(tmp_path):
    command("engine.train", "--recipe", "resnet34", "--plan", "--json", tmp_path / "plan.json")
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert (plan["parameters"], plan["trainable"], plan["steps_per_epoch"]) == (30_032_292, 30_032_292, 391)
    logged = {0: .004148, 1: .004591, 10: .020829, 38: .099853, 39: .1, 40: .09999, 100: .068222, 150: .021412,
              165: .010736}
    assert {epoch: round(plan["lr_after_epoch"][epoch], 6) for epoch in logged} == logged
    assert len(plan["lr_after_epoch"]) == 200 and plan["stages"] and plan["flops_per_image"] > 10**9


def test_repeats_have_the_bits_of_single_runs_and_go_on(run, tmp_path, cache):
    folder, _ = run
    shown = train(tmp_path / "two", cache, "--train.repeats=2").stdout
    assert "2 runs, mean ± standard deviation" in shown
    together = summary(tmp_path / "two")
    assert together["seeds"] == [0, 1] and together["test_top1"]["sd"] is not None
    train(tmp_path / "single", cache, "--train.seed=1")
    weights = [summary(tmp_path / "two" / f"seed_{seed}")["weights_sha256"] for seed in (0, 1)]
    assert weights == [summary(folder)["weights_sha256"], summary(tmp_path / "single")["weights_sha256"]]
    (tmp_path / "two" / "summary.json").unlink()
    (tmp_path / "two" / "seed_1" / "summary.json").unlink()
    inside("engine.train", "--resume", tmp_path / "two")
    assert summary(tmp_path / "two")["test_top1"] == together["test_top1"]
    assert "already holds a run" in train(tmp_path / "two", cache, status=2).stderr


STAGES = json.dumps([{"name": "head", "epochs": 1, "lrs": {"head": 0.05}, "frozen": ["*"]},
                     {"name": "all", "epochs": 2, "lrs": {"head": 0.02, "*": 0.01}}])


@pytest.mark.parametrize("more", [
    ["--average.ema=0.9"],
    ["--average.lookahead=3", "--optim.name=muon", "--optim.muon_for=features", "--optim.rest=sgd"],
    ["--train.sizes=0:8,1:16", "--optim.name=adamw", "--mix.p=0.5"],
], ids=["ema", "muon, lookahead", "sizes, adamw, cutmix"])
def test_a_staged_run_stopped_in_its_second_stage_goes_on_to_the_same_weights(more, tmp_path, cache):
    words = [word for word in SMALL if "epochs" not in word] + [f"--train.stages={STAGES}", *more]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    inside("engine.train", "--recipe", "quickstart", *words, f"--data.cache={cache}", f"--run.folder={whole}",
           "--checkpoint.every=1")
    (cut / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "checkpoints" / "epoch_002.pt", cut / "checkpoints" / "last.pt")
    inside("engine.train", "--resume", cut)
    assert summary(cut)["weights_sha256"] == summary(whole)["weights_sha256"]
    assert summary(cut)["test_top1"] == summary(whole)["test_top1"]


def test_a_run_stopped_between_batches_that_share_an_update_goes_on_to_the_same_weights(tmp_path, cache):
    from engine.cli.console import Screen
    from engine.cli.signals import Interrupted
    from engine.session import session
    from engine.session.resume import resume_run

    settings = dict(word.removeprefix("--").split("=") for word in SMALL)
    settings |= {"train.accumulate": 4, "data.cache": str(cache), "run.report": False}

    def run(name, stop_at=None):
        recipe = load("quickstart", settings={**settings, "run.folder": str(tmp_path / name)})
        with Screen() as screen, contextlib.closing(build(recipe)) as made:
            made_step, asked = made.step, []
            if stop_at:
                plain = made_step.executor

                class Interrupting:
                    """The executor, and a signal in the middle of a group of batches."""

                    start_stage = plain.start_stage

                    def __call__(self, *arguments):
                        asked.append(None)
                        if len(asked) == stop_at:
                            signal.raise_signal(signal.SIGINT)
                        return plain(*arguments)

                made_step.executor = Interrupting()
            return session.train_new(made, screen)

    from engine.build.run import build

    assert run("whole") == 0 and run("cut", stop_at=2) == Interrupted(signal.SIGINT).status
    with Screen() as screen:
        assert resume_run(str(tmp_path / "cut"), screen) == 0
    assert summary(tmp_path / "cut")["weights_sha256"] == summary(tmp_path / "whole")["weights_sha256"]


def test_a_run_starts_from_another_runs_weights_with_a_new_head(run, tmp_path, cache):
    folder, _ = run
    shown = train(tmp_path / "tuned", cache, f"--model.weights={folder}/checkpoints/last.pt").stdout
    assert "starts from scratch" in shown
    assert "cannot be read" in train(tmp_path / "none", cache, "--model.weights=/nowhere/a.pt", status=2).stderr


def test_training_at_another_size_than_the_images_is_evaluated_at_that_size(tmp_path, cache):
    words = [word for word in SMALL if "policy" not in word]
    shown = inside("engine.train", "--recipe", "quickstart", *words, "--augment.policy=resize(px=24), flip()",
                   f"--data.cache={cache}", f"--run.folder={tmp_path}/r").stdout
    assert "test top-1" in shown
    again = inside("engine.evaluate", tmp_path / "r", "--json", tmp_path / "e.json").stdout
    assert "top-1" in again
    assert json.loads((tmp_path / "e.json").read_text())["test_top1"] == summary(tmp_path / "r")["test_top1"]


@pytest.mark.skipif(not (CIFAR / "cifar.py").is_file(), reason="the real CIFAR files are not beside this checkout")
def test_real_cifar_is_converted_and_trained_on(tmp_path):
    subprocess.run([sys.executable, CIFAR / "cifar.py", "cifar10", tmp_path], check=True, timeout=120)
    shown = command("engine.data", "convert", "--data.name=cifar10", f"--data.root={tmp_path}",
                    f"--data.cache={tmp_path}/cache").stdout
    assert "50000" in shown and "airplane" in shown
    inside("engine.train", "--recipe", "quickstart", "--data.name=cifar10", f"--data.root={tmp_path}",
           f"--data.cache={tmp_path}/cache", "--data.validation=0.8", "--train.epochs=1", "--model.width=8",
           f"--run.folder={tmp_path}/run", "--run.report=false")
    # One epoch of 10,000 images: above chance (10 %) by far.
    assert summary(tmp_path / "run")["test_top1"] > 0.25
