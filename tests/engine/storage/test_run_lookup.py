"""Which run `--resume auto` takes: any below runs/ that waits, the newest, and none that lies inside another."""

import os

import pytest

from engine.storage.run_lookup import differing, folders_of_runs, newest_unfinished
from recipes.settings.load import load


@pytest.fixture
def make(tmp_path, monkeypatch):
    """make(folder, recipe, age, *files): a run as old as `age` seconds, below the current folder."""
    monkeypatch.chdir(tmp_path)

    def run(folder, recipe, age, *files):
        (tmp_path / folder).mkdir(parents=True)
        head = f"# python -m engine.train --recipe {recipe} --config-file THIS\n"
        (tmp_path / folder / "config.yaml").write_text(f"{head}data: {{name: shapes}}\n")
        for name in files:
            (tmp_path / folder / name).write_text("{}")
        os.utime(tmp_path / folder, (0, 1_000_000 - age))

    return run


def test_a_run_is_found_at_any_depth_and_by_the_recipe_that_it_is_of(make):
    assert newest_unfinished(None) is None
    make("runs/baseline/20260101-000000", "baseline", 50)
    assert newest_unfinished(None) == "runs/baseline/20260101-000000"
    make("runs/NAME", "quickstart", 40)
    assert newest_unfinished(None) == newest_unfinished("quickstart") == "runs/NAME"
    make("runs/study/low/7", "baseline", 30)
    assert newest_unfinished(None) == newest_unfinished("baseline") == "runs/study/low/7"
    make("runs/baseline/mine", "quickstart", 20)
    assert newest_unfinished("baseline") == "runs/study/low/7", "the folder's name is not the recipe's"
    assert newest_unfinished("quickstart") == "runs/baseline/mine" and newest_unfinished("cnn") is None


def test_finished_and_unreadable_runs_are_passed_over(make, tmp_path):
    make("runs/a", "baseline", 40)
    make("runs/b", "baseline", 30, "summary.json")
    for name, config in (("c", ""), ("d", "# python -m engine.train --recipe baseline\ndata: {name: mnist}\n")):
        make(f"runs/{name}", "baseline", 20)
        (tmp_path / "runs" / name / "config.yaml").write_text(config)
    assert newest_unfinished(None) == "runs/a"


def test_what_lies_inside_a_run_or_repeats_is_a_part_of_it(make, tmp_path):
    make("runs/first", "baseline", 50, "summary.json")
    make("runs/first/reproduced", "baseline", 10)
    make("runs/three/seed_0", "baseline", 20)
    (tmp_path / "runs/three/repeats.json").write_text('{"recipe": "baseline", "values": {"data": {"name": "shapes"}}}')
    assert newest_unfinished(None) == "runs/three"


def test_links_are_followed_but_not_in_circles(make, tmp_path):
    make("scratch/run", "baseline", 10)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/disk").symlink_to(tmp_path / "scratch")
    (tmp_path / "scratch/back").symlink_to(tmp_path / "runs")
    assert [str(folder) for folder in folders_of_runs(tmp_path / "runs")] == [f"{tmp_path}/runs/disk/run"]


def test_the_same_command_differs_in_nothing_from_a_run_of_a_former_version(make, tmp_path):
    make("runs/a", "quickstart", 10)
    # With patience, it stops by the loss; by itself, the recipe would by top-1.
    (tmp_path / "runs/a/config.yaml").write_text(
        "# python -m engine.train --recipe quickstart --config-file THIS\n"
        "train: {patience: 3}\ndata: {validation: 0.1}\n")
    patient = {"train.patience": 3}
    assert "eval.best_by" not in differing(tmp_path / "runs/a", load("quickstart", settings=patient))
    asked = load("quickstart", settings={**patient, "eval.best_by": "top1"})
    assert differing(tmp_path / "runs/a", asked)["eval.best_by"] == "top1"
