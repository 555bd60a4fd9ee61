"""The accuracy benchmark: rows from finished runs, none repeated, and a table that shows what is not measured."""

import json
import time

import pytest

from benchmarks import accuracy
from benchmarks.common.results import read_rows, write_rows
from engine.common.errors import EngineError
from recipes.settings.load import load


def row(name, top1, seconds=10.0, epochs=3, recipe="baseline", **more):
    return {**more, "name": name, "recipe": recipe, "dataset": "cifar100", "test_top1": top1, "train_seconds": seconds,
            "epochs": epochs, "precision": "fp32",
            "environment": {"hardware": {"processor": "P", "cores": 2}}, "command": "c"}


def test_a_row_is_named_by_what_can_change_its_result():
    recipe = load("baseline", settings={"train.epochs": 3, "data.root": "/x", "data.workers": 1})
    assert accuracy.label(recipe, 2) == "baseline train.epochs=3 seed 2"


def test_the_table_has_mean_and_spread_and_says_what_is_not_measured():
    text = accuracy.table([row("baseline train.epochs=3 seed 0", .20), row("baseline train.epochs=3 seed 1", .22)])
    line = next(line for line in text.splitlines() if "train.epochs=3" in line)
    assert "21.0 ± 1.4 %" in line and "| 3 | 10 | - | 0.3 |" in line and line.endswith("| 2 |")
    assert "| `baseline` | cifar100 | 44.34 % (notebook) | not yet measured |" in text
    assert "| `resnet34` | cifar100 | 75.14 %, test-selected | not yet measured |" in text


def test_wall_seconds_stand_beside_training_seconds_where_all_runs_measured_them():
    measured = [row("baseline seed 0", .2, wall_seconds=15.0), row("baseline seed 1", .2, wall_seconds=17.0)]
    for rows, cells in ((measured, "| 3 | 10 | 16 | 0.3 |"), ([measured[0], row("baseline seed 1", .2)], "| 10 | - |")):
        line = next(line for line in accuracy.table(rows).splitlines() if line.startswith("| `baseline` |"))
        assert cells in line and line.count("|") == accuracy.table(rows).splitlines()[0].count("|")


def test_the_accuracy_links_to_its_first_row_and_the_machine_tells_its_load(tmp_path):
    def measured(seed, **facts):
        made = row(f"baseline seed {seed}", .2)
        load = {"own_cores": 1.9, "other_cores": 0.5 * seed, "stolen_cores": 0.1}
        return made | {"environment": {"hardware": made["environment"]["hardware"] | facts, "load": load}}

    file = tmp_path / "rows.json"
    write_rows(file, [row('of "another" seed 0', .1)], {}, "c")
    rows = [measured(1), measured(2, matrix_instructions=["AMX bf16"])]
    for one in rows:
        write_rows(file, [one], one["environment"], "c", merge=True)
    where = accuracy.lines_with_names(file)
    assert list(where) == ['of "another" seed 0', "baseline seed 1", "baseline seed 2"]
    assert '"baseline seed 1"' in file.read_text().splitlines()[where["baseline seed 1"] - 1]
    line = next(line for line in accuracy.table(rows, where).splitlines() if line.startswith("| `baseline` |"))
    assert f"| [20 ± 0 %](benchmarks/results/accuracy.json#L{where['baseline seed 1']}) |" in line
    assert "| P with AMX bf16, 2 cores, fp32; others kept 0.9 cores busy | 2 |" in line


def test_rows_of_other_batch_norms_are_no_further_seeds():
    rows = [row("baseline seed 0", .2), row("baseline seed 1", .3, norms="fused"),
            row("baseline seed 2", .4, norms="torch")]
    lines = [line for line in accuracy.table(rows).splitlines() if line.startswith("| `baseline` |")]
    assert [line.rpartition(" | ")[2] for line in lines] == ["1 |", "2 |"]


def test_a_measured_recipe_is_not_listed_as_unmeasured():
    text = accuracy.table([row("baseline seed 0", .4434)])
    line = next(line for line in text.splitlines() if line.startswith("| `baseline` |"))
    assert "44.34 %" in line and "not yet measured" not in line and "±" not in line


def test_a_finished_run_becomes_a_row_once(tmp_path):
    command = "python -m engine.train --recipe a --data.root=/x --run.folder=/y --train.epochs=3"
    summary = dict.fromkeys(accuracy.SUMMARY_KEYS, 1) | {"hardware": {}, "versions": {}, "commit": "c",
                                                         "command": command}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
    for _ in range(2):
        accuracy.add_row("a seed 0", tmp_path / "run", tmp_path / "rows.json")
    rows = read_rows(tmp_path / "rows.json")
    assert len(rows) == 1 and rows[0]["name"] == "a seed 0"
    assert rows[0]["command"] == "python -m engine.train --recipe a --data.root=DIR --train.epochs=3"
    recipe = load("baseline")
    (tmp_path / "rows.json").write_text(json.dumps([rows[0] | {"name": accuracy.label(recipe, 0)}]))
    assert accuracy.run_seeds(recipe, 1, tmp_path / "nowhere", tmp_path / "rows.json", 0.0)


def test_without_time_nothing_is_started(tmp_path):
    assert not accuracy.run_seeds(load("baseline"), 2, tmp_path / "runs", tmp_path / "rows.json", 0.0)
    assert not list(tmp_path.iterdir())


SMALL = {"data.train_count": 100, "data.test_count": 100, "data.resolution": 8, "train.batch": 50, "model.width": 4,
         "model.depth": 2, "train.epochs": 1, "train.threads": 1, "run.report": False}


@pytest.mark.slow("trains two runs in a process, which is stopped once")
def test_seeds_go_through_one_process_and_the_budget_stops_it_resumably(tmp_path, capfd):
    recipe = load("quickstart", settings={**SMALL, "data.cache": str(tmp_path / "cache")})
    runs, rows = tmp_path / "runs", tmp_path / "rows.json"
    # Less time than the imports take: the first call is stopped before it has trained anything.
    assert not accuracy.run_seeds(recipe, 2, runs, rows, time.monotonic() + 1)
    assert accuracy.run_seeds(recipe, 2, runs, rows, time.monotonic() + 300)
    found = read_rows(rows)
    assert [row["seed"] for row in found] == [0, 1] and len({row["weights_sha256"] for row in found}) == 2
    assert capfd.readouterr().out.count("2 runs, mean ± standard deviation") == 1
    assert accuracy.run_seeds(recipe, 2, runs, rows, 0.0), "rows that are there need no time"


def test_stopped_repeats_are_resumed_in_their_folder(tmp_path, monkeypatch):
    recipe, asked = load("quickstart", settings=SMALL), []
    folder = tmp_path / accuracy.folder_name(f"{accuracy.label(recipe, 0)} to 2")

    def train(words, ends):
        asked.append(words)
        folder.mkdir(exist_ok=True)
        (folder / "repeats.json").write_text("{}")

    monkeypatch.setattr(accuracy, "run_until", train)
    rows = tmp_path / "rows.json"
    assert not accuracy.run_seeds(recipe, 3, tmp_path, rows, time.monotonic() + 9)
    assert f"--run.folder={folder}" in asked[0]
    rows.write_text(json.dumps([{"name": accuracy.label(recipe, 0)}]))
    assert not accuracy.run_seeds(recipe, 3, tmp_path, rows, time.monotonic() + 9)
    assert asked[1][-2:] == ["--resume", str(folder)]


def test_a_run_without_a_summary_is_one_line(tmp_path):
    for content, what in (("{", "missing or damaged"), ('{"recipe": "a", "command": "x"}', "incomplete")):
        (tmp_path / "summary.json").write_text(content)
        with pytest.raises(EngineError, match=rf"summary\.json is {what}: remove the folder and run again"):
            accuracy.add_row("a", tmp_path, tmp_path / "rows.json")
