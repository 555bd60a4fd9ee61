"""A sweep: real trials, killed and resumed, and everything else with a stand-in for training."""

import csv
import json
import os
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from engine import sweep, train
from engine.common.errors import EngineError
from recipes.settings.load import RecipeError, load

optuna = pytest.importorskip("optuna")

from engine.cli.signals import Interrupted  # noqa: E402
from engine.storage.folder_lock import FolderLock  # noqa: E402
from engine.storage.history import read_history  # noqa: E402
from engine.training.nan_guard import NotFinite  # noqa: E402
from engine.tuning.held_out import without_added  # noqa: E402
from engine.tuning.leaderboard import trial_line  # noqa: E402

pytestmark = pytest.mark.slow("runs sweeps")

ROOT = Path(__file__).resolve().parents[2]
# The recipe's own rate is set far too low, so that better ones are easily found. A resident feed compiles nothing.
SMALL = ["--data.train_count=800", "--data.test_count=100", "--data.resolution=16", "--data.classes=10",
         "--train.batch=20", "--model.width=16", "--model.depth=3", "--train.epochs=3", "--train.device=cpu",
         "--train.threads=1", "--train.precision=fp32", "--data.validation=0.3", "--augment.policy=none",
         "--data.feed=resident", "--schedule.lr=0.001"]
SPACE = "schedule.lr: {low: 0.001, high: 0.5, log: true}\ntrain.batch: {choices: [20, 40]}\n"


@pytest.fixture
def space(tmp_path):
    def write(text=SPACE):
        (tmp_path / "space.yaml").write_text(text)
        return str(tmp_path / "space.yaml")

    return write


def trials_in(folder):
    """The leaderboard's trials without their durations."""
    rows = json.loads((folder / "leaderboard.json").read_text())["trials"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.slow("trains two sweeps of 5 trials, one of them in a process that is killed")
def test_a_killed_sweep_resumes_to_the_same_trials_beats_the_recipe_and_never_sees_the_test_set(
        space, tmp_path, monkeypatch, capsys):
    words = ["--recipe", "quickstart", "--space", space(), "--trials", "5", "--seed", "1",
             f"--data.cache={tmp_path}/cache", *SMALL]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-m", "engine.sweep", *words, "--out", killed], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    seen = [next(line for line in process.stdout if line.startswith(f"trial {number}")) for number in (0, 1, 2)]
    process.kill()
    process.communicate()
    assert process.returncode == -9 and len(seen) == 3 and len(trials_in(killed)) >= 3
    looked_at = []
    from engine.build import run as build

    def watched(*arguments, **options):
        looked_at.append(arguments[1])
        return real(*arguments, **options)

    real = build.evaluate
    monkeypatch.setattr(build, "evaluate", watched)
    for folder in (killed, whole):
        assert sweep.main([*words, "--out", str(folder)]) == 0
    assert trials_in(killed) == trials_in(whole)
    assert looked_at and {feed.samples for feed in looked_at} == {240}
    rows = trials_in(whole)
    own = next(row for row in rows if row["trial"] == 0)
    assert own["settings"] == {"train.batch": 20, "schedule.lr": 0.001} and own["state"] == "finished"
    assert rows[0]["validation_top1"] > own["validation_top1"] + 0.1 and len(rows) == 5
    best = load("quickstart", str(whole / "best.yaml"))
    assert {path: best.values[path] for path in rows[0]["settings"]} == rows[0]["settings"]
    assert best.values["data.validation"] == 0.3 and best.values["model.width"] == 16
    assert (whole / "importance.png").stat().st_size > 10_000
    assert f"--config-file {whole}/best.yaml" in capsys.readouterr().out


def accuracies_of(recipe):
    """A stand-in for the accuracy of 6 epochs: best at a rate of 0.1 and a batch of 40, rising with the epochs."""
    off = abs(torch.log10(torch.tensor(recipe.get("schedule.lr", 0.1) / 0.1)).item())
    return [0.2 + 0.1 * epoch - 0.05 * off + (recipe.values["train.batch"] == 40) / 100 for epoch in range(6)]


def stand_in(patch, fail=None, at=None):
    """Let trials end at once; returns the recipes they are given. `fail` is raised by the trial of number `at`."""
    given = []

    def train(recipe, trial, screen, signals):
        given.append(recipe)
        found = accuracies_of(recipe)
        for epoch, top1 in enumerate(found):
            if fail is not None and len(given) == at and epoch == 1:
                raise fail
            trial.report(top1, epoch)
            if epoch + 1 < len(found) and trial.should_prune():
                raise optuna.TrialPruned
        return found[-1]

    patch.setattr("engine.tuning.trials.train", train)
    patch.setattr("engine.tuning.sweep.draw_importance", lambda *drawn: drawn[3])
    return given


@pytest.fixture
def pretend(monkeypatch):
    return partial(stand_in, monkeypatch)


@pytest.fixture
def run(space, tmp_path):
    def start(*words, text=SPACE, trials=8):
        return sweep.main(["--recipe", "quickstart", "--space", space(text), "--trials", str(trials), "--out",
                           str(tmp_path / "out"), *words])

    return start


@pytest.mark.slow("25 trials, each of them several transactions of a database")
def test_the_first_trial_is_the_recipe_itself_and_the_others_lie_in_the_space(pretend, run, tmp_path):
    given = pretend()
    assert run(trials=25) == 0
    assert dict(given[0].values) == dict(load("quickstart").values)
    assert all(0.001 <= recipe.values["schedule.lr"] <= 0.5 and recipe.values["train.batch"] in (20, 40)
               for recipe in given[1:])
    assert len({recipe.values["schedule.lr"] for recipe in given}) == 25
    rows = trials_in(tmp_path / "out")
    assert [row["rank"] for row in rows] == list(range(1, 26))
    finished = [row["validation_top1"] for row in rows if row["state"] == "finished"]
    assert finished == sorted(finished, reverse=True) and rows[0]["settings"]["train.batch"] == 40
    assert abs(rows[0]["settings"]["schedule.lr"] / 0.1 - 1) < 1, "TPE found nothing"
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned and all(2 < row["epochs"] < 6 for row in pruned) and "pruned" not in {
        row["state"] for row in rows[:len(finished)]}
    with (tmp_path / "out" / "leaderboard.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["schedule.lr"]) for row in table] == [row["settings"]["schedule.lr"] for row in rows]


def test_trials_are_judged_by_the_recipes_criterion_where_lower_is_better_too(pretend, run, tmp_path, monkeypatch,
                                                                               capsys):
    pretend()
    drawn = []

    def train(recipe, trial, screen, signals):
        losses = [1 - top1 for top1 in accuracies_of(recipe)]
        for epoch, loss in enumerate(losses):
            trial.report(loss, epoch)
            if epoch + 1 < len(losses) and trial.should_prune():
                raise optuna.TrialPruned
        return losses[-1]

    monkeypatch.setattr("engine.tuning.trials.train", train)
    monkeypatch.setattr("engine.tuning.sweep.draw_importance", lambda *given: drawn.append(given) or given[3])
    assert run("--eval.best_by=loss", trials=9) == 0
    rows = trials_in(tmp_path / "out")
    finished = [row["validation_loss"] for row in rows if row["state"] == "finished"]
    pruned = [row["validation_loss"] for row in rows if row["state"] == "pruned"]
    assert finished == sorted(finished) and finished[0] < finished[-1] and pruned
    given = load("quickstart", settings=rows[0]["settings"])
    assert finished[0] == pytest.approx(1 - accuracies_of(given)[-1]) and min(pruned) > finished[0]
    shown = capsys.readouterr().out
    assert f"validation loss {finished[0]:.4f}" in shown and "top-1" not in shown
    head = (tmp_path / "out/best.yaml").read_text().splitlines()[0]
    assert head == f"# The best trial of a sweep: validation loss {finished[0]:.4f}."
    measure = drawn[0][-2]
    assert (measure.label, measure.lower, measure.share) == ("validation loss", True, False)
    with pytest.raises(EngineError, match=r"holds a sweep with another eval\.best_by \(loss, here top1\)"):
        run(trials=9)


def test_a_sweep_of_a_former_version_which_knew_only_top1_resumes(pretend, run, tmp_path):
    pretend()
    assert run(trials=2) == 0
    study = optuna.load_study(study_name="cadence", storage=f"sqlite:///{tmp_path}/out/sweep.db")
    mark = study.user_attrs["mark"]
    del mark["settings"]["eval.best_by"]
    study.set_user_attr("mark", mark)
    again = pretend()
    assert run(trials=3) == 0 and len(again) == 1
    with pytest.raises(EngineError, match=r"another eval\.best_by \(top1, here ece\)"):
        run("--eval.best_by=ece", trials=3)


@pytest.mark.slow("trains two runs of 3 epochs")
def test_a_trials_value_is_the_one_that_a_run_records(space, tmp_path):
    words = ["--recipe", "quickstart", *SMALL, f"--data.cache={tmp_path}/cache", "--eval.best_by=ece"]
    sweep.main([*words, "--space", space(), "--trials", "1", "--out", str(tmp_path / "out")])
    train.main([*words, f"--run.folder={tmp_path}/run", "--run.report=false"])
    recorded = read_history(tmp_path / "run" / "metrics.csv", [])
    assert trials_in(tmp_path / "out")[0]["validation_ece"] == recorded[-1]["validation_ece"]


def test_without_pruning_every_trial_is_trained_to_its_end(pretend, run, tmp_path):
    pretend()
    run("--no-pruning", trials=9)
    assert {(row["state"], row["epochs"]) for row in trials_in(tmp_path / "out")} == {("finished", 6)}


class Killed(BaseException):
    """Ends a trial as killing the process would."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The trials of a sweep that ran to its end."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "space.yaml").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        sweep.main(["--recipe", "quickstart", "--space", str(folder / "space.yaml"), "--trials", "7", "--out",
                    str(folder)])
    return trials_in(folder)


@pytest.mark.parametrize("at", [1, 2, 6])
def test_wherever_it_was_interrupted_it_resumes_to_the_same_points(at, pretend, run, tmp_path, monkeypatch,
                                                                   uninterrupted):
    tell = optuna.Study.tell
    with monkeypatch.context() as dead:
        # A killed process leaves its trial running.
        dead.setattr(optuna.Study, "tell", lambda study, trial, *value, **state: None if state.get(
            "skip_if_finished") else tell(study, trial, *value, **state))
        pretend(Killed(), at)
        with pytest.raises(Killed):
            run(trials=7)
    again = pretend()
    assert run(trials=7) == 0
    assert trials_in(tmp_path / "out") == uninterrupted and len(again) == 7 - at + 1


def test_a_signal_ends_it_with_its_status_and_more_trials_may_be_asked_for_later(pretend, run, tmp_path, capsys):
    pretend(Interrupted(15), 3)
    assert run() == 143
    assert "stopped by SIGTERM; the same command resumes the sweep" in capsys.readouterr().out
    again = pretend()
    assert run(trials=4) == 0 and len(again) == 2
    assert run(trials=4) == 0 and len(again) == 2, "nothing was left to do"
    assert run(trials=6) == 0 and len(again) == 4


@pytest.mark.parametrize(("fail", "state", "reason"), [
    (EngineError("this does not fit"), "refused", "this does not fit"),
    (NotFinite(3), "pruned", "the loss was not finite"),
    (torch.OutOfMemoryError("too\nlarge"), "refused", "too large"),
    (RuntimeError("DefaultCPUAllocator: not enough memory"), "refused", "DefaultCPUAllocator: not enough memory")])
def test_a_trial_that_does_not_work_is_kept_with_its_reason(fail, state, reason, pretend, run, tmp_path):
    pretend(fail, 3)
    assert run(trials=4) == 0
    rows = trials_in(tmp_path / "out")
    assert [(row["state"], row["reason"]) for row in rows if row["trial"] == 2] == [(state, reason)] and len(rows) == 4


def test_where_the_recipe_itself_diverges_the_sweep_completes_and_resumes(pretend, run, tmp_path, monkeypatch, capsys):
    pretend(NotFinite(3), 1)
    drawn = []
    monkeypatch.setattr("engine.tuning.sweep.draw_importance", lambda *given: drawn.append(given) or given[3])
    assert run(trials=6) == 0
    assert "the recipe's own 20.00% (the loss was not finite)" in " ".join(capsys.readouterr().out.split())
    assert drawn[0][-1] is False, "another trial would be shown as the recipe's own"
    pretend()
    assert run(trials=7) == 0 and trials_in(tmp_path / "out")[0]["state"] == "finished"


@pytest.mark.slow("trains trials of 3 epochs")
def test_if_every_trial_diverges_the_error_is_one_line_each_time(space, tmp_path, capsys):
    words = ["--recipe", "quickstart", "--space", space("train.batch: {choices: [20, 40]}"), "--out",
             str(tmp_path / "out"), f"--data.cache={tmp_path}/cache", *SMALL[:-1], "--model.norm=none",
             "--schedule.lr=100000"]
    for trials in (2, 2, 3):
        with pytest.raises(EngineError, match=rf"none of the {trials} trials finished, the recipe's own .* finite"):
            sweep.main([*words, "--trials", str(trials)])
    assert {row["state"] for row in trials_in(tmp_path / "out")} == {"pruned"}
    assert not (tmp_path / "out/best.yaml").exists()
    assert " - " in capsys.readouterr().out


def test_the_leaderboard_has_the_whole_command(pretend, tmp_path):
    pretend()
    (tmp_path / "a b.yaml").write_text(SPACE)
    words = ["--recipe", "quickstart", "--train.epochs=6", "--space", str(tmp_path / "a b.yaml"), "--trials", "5",
             "--seed", "3", "--no-pruning", "--out", str(tmp_path / "out"), "--storage", str(tmp_path / "my.db")]
    sweep.main(words)
    command = json.loads((tmp_path / "out" / "leaderboard.json").read_text())["command"]
    assert shlex.split(command) == ["python", "-m", "engine.sweep", *words]


def test_a_trial_with_contradictory_settings_is_refused(pretend, run, tmp_path):
    pretend()
    run(text="optim.momentum: {choices: [0, 0.5, 0.9]}\noptim.nesterov: {choices: [true, false]}", trials=12)
    refused = [row for row in trials_in(tmp_path / "out") if row["state"] == "refused"]
    assert refused and all("optim.nesterov=true needs optim.momentum" in row["reason"] for row in refused)


def test_the_recipe_itself_must_work(pretend, run, tmp_path):
    pretend(EngineError("it cannot be built"), 1)
    with pytest.raises(EngineError, match="it cannot be built"):
        run()
    pretend()
    assert run(trials=2) == 0 and trials_in(tmp_path / "out")


def test_a_recipe_whose_own_value_lies_outside_the_space_is_tried_too(pretend, run, tmp_path):
    given = pretend()
    assert run(text="schedule.lr: {low: 0.2, high: 0.5}", trials=6) == 0
    assert given[0].values["schedule.lr"] == 0.1
    assert next(row for row in trials_in(tmp_path / "out") if row["trial"] == 0)["settings"] == {"schedule.lr": 0.1}


def test_without_held_out_images_the_sweep_alone_holds_a_share_out(pretend, run, tmp_path):
    given = pretend()
    words = ["--recipe", "pocket10", "--space", str(tmp_path / "space.yaml"), "--trials", "5", "--out",
             str(tmp_path / "own"), f"--data.root={tmp_path}"]
    (tmp_path / "space.yaml").write_text("train.label_smoothing: {low: 0, high: 0.3}")
    assert sweep.main(words) == 0
    assert {(recipe.values["data.validation"], recipe.values["eval.watch"]) for recipe in given} == {(0.1, "auto")}
    best = load("pocket10", str(tmp_path / "own" / "best.yaml"))
    assert (best.values["data.validation"], best.values["eval.watch"]) == (0, "none")


def test_settings_added_for_the_sweep_stay_if_others_need_them():
    held_out = {"data.validation": 0.1}
    assert without_added("baseline", {"data.validation": 0.1, "train.epochs": 3}, held_out) == {"train.epochs": 3}
    needed = {"data.validation": 0.1, "train.patience": 3}
    assert without_added("baseline", needed, held_out) == needed


@pytest.mark.parametrize(("words", "message"), [
    (["--seed", "1"], "holds a sweep with another seed (0, here 1)"),
    (["--train.epochs=5"], "holds a sweep with another train.epochs (6, here 5)"),
    (["--no-pruning"], "holds a sweep with another pruning"),
])
def test_a_folder_with_another_sweep_is_refused(words, message, pretend, run):
    pretend()
    run(trials=1)
    with pytest.raises(EngineError) as caught:
        run(*words, trials=2)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(EngineError, match="holds a sweep with another space"):
        run(text="schedule.lr: {low: 0.2, high: 0.5}", trials=2)
    assert run("--train.threads=1", "--data.cache=/elsewhere", trials=2) == 0


def test_a_second_process_is_refused_and_a_file_that_is_no_sweep_stays_untouched(pretend, run, tmp_path):
    pretend()
    (tmp_path / "out").mkdir()
    with FolderLock(tmp_path / "out"), pytest.raises(EngineError, match="is in use by process"):
        run()
    other = tmp_path / "other.db"
    other.write_text("years of work")
    with pytest.raises(EngineError, match=r"other\.db cannot be used") as caught:
        run("--storage", str(other))
    assert "\n" not in str(caught.value) and other.read_text() == "years of work"


@pytest.mark.parametrize(("words", "message"), [
    (["--space", "s"], "--recipe is missing"),
    (["--recipe", "quickstart"], "--space is missing"),
    (["--recipe", "quickstart", "--space", "s", "--trials", "0"], "--trials=0 must be 1 or more"),
    (["--recipe", "quickstart", "--space", "s", "--seed", "-1"], "--seed=-1 0 or more"),
    (["--recipe", "quickstart", "--space", "s", "--run.folder=x"], "--run.folder has no effect on a sweep"),
    (["--recipe", "quickstart", "--space", "s", "--data.validation=0"], "a sweep chooses on held-out images"),
    (["--recipe", "quickstart", "--space", "s", "--eval.watch=none"], "eval.watch=none leaves nothing to choose by"),
    (["--recipe", "baseline", "--space", "s", "--eval.select=test"], "eval.select=test: a sweep chooses on held-out"),
    (["--recipe", "quickstart", "--space", "/absent.yaml"], "/absent.yaml cannot be read"),
])
def test_a_bad_command_is_refused_in_one_line(words, message):
    with pytest.raises((EngineError, RecipeError)) as caught:
        sweep.main(words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow("starts a process that has not imported torch")
def test_help_does_without_torch_and_optuna():
    script = ("import sys; from engine import sweep; from engine.cli.parser import run_command\n"
              "try: run_command(lambda: sweep.main(['--help']))\n"
              "finally: assert not {'torch', 'optuna', 'matplotlib'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--space FILE" in done.stdout, done.stderr


def test_a_missing_package_is_one_line(space, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(EngineError, match=r"needs the optuna package: pip install 'cadence-train\[sweep\]'"):
        sweep.main(["--recipe", "quickstart", "--space", space()])


def test_the_line_of_a_trial_says_which_is_the_last():
    row = {"trial": 0, "settings": {"train.batch": 20}, "validation_top1": 0.5, "state": "finished", "reason": "",
           "epochs": 3, "seconds": 1.25}
    assert trial_line(row, 4) == "trial 0 (the last is 3)  train.batch=20  validation top-1 50.00%  1.2 s"
