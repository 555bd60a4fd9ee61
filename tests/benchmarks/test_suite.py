"""The suite: its parts fit the commands they call, run in order within the budget, and continue where it ran out."""

import importlib.util
import json
import shlex
import time

import pytest

from benchmarks import accuracy, suite
from benchmarks.common.results import read_rows
from benchmarks.suite import Part
from engine import train
from engine.build.plan import make_plan
from engine.build.preflight import refuse_early
from engine.common.errors import EngineError
from recipes.settings import load

# Replaces the suite's commands. It logs each call beside its rows; `slow` waits until the suite stops it, `resumable`
# uses up its budget in the first call and ends in the second.
PLANTED = '''
import json, pathlib, signal, sys, time

kind, options = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2]))
rows = pathlib.Path(options["--json"])
calls = rows.with_suffix(".calls")
before = calls.read_text() if calls.exists() else ""
calls.write_text(before + json.dumps(sys.argv[2:]) + chr(10))
if kind == "slow":
    signal.pause()
if kind == "fails":
    print("it is broken", file=sys.stderr)
    raise SystemExit(3)
if kind == "resumable" and not before:
    ends = time.monotonic() + 60 * float(options["--budget-minutes"])
    signal.sigtimedwait([], ends - time.monotonic())
    raise SystemExit(0)
rows.write_text(json.dumps([{"name": kind, "label": "net", "kind": "ours", "way": "stream",
                             "images_per_second": {"median": 1234.5}}]))
'''


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A function that runs the suite with these parts, given as name=kind."""
    (tmp_path / "planted_part.py").write_text(PLANTED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(suite, "environment", lambda device: {
        "hardware": {"processor": "P (AVX2)", "cores": 2}, "versions": {"torch": "2"}, "commit": "c",
        "utc": "2031-02-03T04:05:06Z"})
    file = tmp_path / "out" / "suite.json"

    def run(budget_s, **kinds):
        made = [Part(name.replace("_", "-"), ("planted_part", kind), kind == "resumable")
                for name, kind in kinds.items()]
        monkeypatch.setattr(suite, "parts", lambda small, settings, gpu: made)
        return suite.main(["--json", str(file), "--budget-minutes", str(budget_s / 60)])

    run.file, run.page = file, file.parent / "p-2031-02-03.md"
    return run


def calls(run, part):
    """The arguments of each call of a planted part."""
    file = run.file.with_name(f"suite-{part}.calls")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def state(run):
    return json.loads(run.file.read_text())["parts"]


@pytest.mark.slow("starts processes")
def test_each_part_runs_once_in_order_and_has_its_rows_and_its_place_on_the_page(planted, capfd):
    assert planted(60, one="works", epochs_two="works") == 0
    assert capfd.readouterr().out.splitlines() == ["--- one", "--- epochs-two"]
    assert {name: (part["done"], part["status"]) for name, part in state(planted).items()} == {
        "one": (True, 0), "epochs-two": (True, 0)}
    assert calls(planted, "one") == [["--json", str(planted.file.with_name("suite-one.json"))]]
    assert read_rows(planted.file.with_name("suite-epochs-two.json"))[0]["name"] == "works"
    page = planted.page.read_text()
    assert page.index("## one") < page.index("## epochs-two")
    assert page.count("| works | net | ours | stream | 1,234 |") == 2
    assert planted.page.with_suffix(".png").exists()
    assert planted(60, one="works", epochs_two="works") == 0
    assert len(calls(planted, "one")) == len(calls(planted, "epochs-two")) == 1


@pytest.mark.slow("starts processes")
def test_a_part_that_fails_is_reported_and_the_others_run(planted, capfd):
    assert planted(60, one="fails", two="works") == 1
    said = capfd.readouterr()
    assert said.out.splitlines()[-1] == "failed: one" and "it is broken" in said.err
    assert (state(planted)["one"]["status"], state(planted)["two"]["status"]) == (3, 0)
    page = planted.page.read_text()
    assert "`python -m planted_part fails`: failed with status 3" in page and "| works |" in page
    assert planted(60, one="fails", two="works") == 1, "a failure stays reported"


@pytest.mark.slow("a part runs until its budget is spent")
def test_a_part_that_exceeds_the_budget_is_stopped_and_the_rest_waits(planted, capfd):
    planted(60, one="works")
    began = time.monotonic()
    assert planted(1, one="works", two="slow", three="works") == 0
    assert time.monotonic() - began < 30
    assert "is spent; run the same command again for two, three" in capfd.readouterr().out
    slow = state(planted)["two"]
    assert (slow["done"], slow["status"]) == (False, None) and "three" not in state(planted)
    assert "cut off, tried again by the next call" in planted.page.read_text()
    assert planted(60, one="works", two="works", three="works") == 0
    assert len(calls(planted, "one")) == len(calls(planted, "three")) == 1
    assert all(part["done"] for part in state(planted).values())


@pytest.mark.slow("a part runs until its budget is spent")
def test_a_part_that_ends_when_its_budget_is_spent_is_resumed(planted, capfd):
    assert planted(6, one="resumable") == 0
    assert "run the same command again for one" in capfd.readouterr().out
    first = state(planted)["one"]
    assert (first["done"], first["status"]) == (False, 0) and first["seconds"] >= 1
    assert planted(60, one="resumable") == 0
    assert capfd.readouterr().out.splitlines() == ["--- one"]
    again = state(planted)["one"]
    assert again["done"] and again["seconds"] > first["seconds"], "the time of both calls together"
    asked = [dict(zip(words[::2], words[1::2], strict=True)) for words in calls(planted, "one")]
    given_s = [60 * float(words["--budget-minutes"]) for words in asked]
    assert given_s[0] == pytest.approx(1, abs=0.01) and 30 < given_s[1] < 55.01, "the rest is time to stop in"
    assert {words["--runs"] for words in asked} == {str(planted.file.with_name("suite-one"))}


def test_without_time_nothing_starts(planted, capfd):
    assert planted(1e-9, one="works") == 0
    assert "run the same command again for one" in capfd.readouterr().out and not calls(planted, "one")
    assert planted.page.exists()


@pytest.mark.slow("starts processes")
def test_a_part_whose_command_changed_runs_again(planted):
    planted(60, one="fails")
    assert planted(60, one="works") == 0
    assert state(planted)["one"]["command"] == "python -m planted_part works"


@pytest.mark.parametrize("text", ["{", "[]", "3", "null", "[" * 100_000, '{"parts": {}}', '{"environment": {}}',
                                  '{"environment": {}, "parts": {}}', "\udcff"])
def test_a_damaged_file_is_refused_and_kept(planted, text):
    planted.file.parent.mkdir()
    planted.file.write_bytes(text.encode(errors="surrogateescape"))
    said = r"suite\.json is (missing or damaged|not a suite's file): remove it, or give another name"
    with pytest.raises(EngineError, match=said) as caught:
        planted(60, one="works")
    assert "\n" not in str(caught.value) and not calls(planted, "one")
    assert planted.file.read_bytes() == text.encode(errors="surrogateescape")


def test_a_damaged_part_is_refused(planted):
    planted.file.parent.mkdir()
    whole = {"environment": suite.environment("cpu"), "parts": {}}
    for parts in ({"one": {}}, {"one": 3}, []):
        planted.file.write_text(json.dumps({**whole, "parts": parts}))
        with pytest.raises(EngineError, match="is not a suite's file"):
            planted(60, one="works")


def test_a_folder_in_place_of_the_file_is_refused(planted):
    planted.file.mkdir(parents=True)
    with pytest.raises(EngineError, match=r"suite\.json cannot be written: give the name of a file"):
        planted(60, one="works")


@pytest.mark.parametrize(("words", "said"), [
    ([], "--json"), (["--json=x", "--budget-minutes=0"], "--budget-minutes=0 must be above 0"),
    (["--json=x", "--budget-minutes=nan"], "--budget-minutes=nan must be above 0"),
    (["--json=x", "--small", "--train.batch=3"],
     "--small runs on embedded data with its own settings: leave --train.batch out"),
])
def test_impossible_options_are_refused_in_one_line(words, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError) as caught:
        suite.main(words)
    assert said in str(caught.value) and "\n" not in str(caught.value) and not list(tmp_path.iterdir())


GIVEN = {"data.root": "/data", "data.cache": "/cache"}
ALL = {"small": suite.parts(True, {}, False), "cpu": suite.parts(False, GIVEN, False),
       "gpu": suite.parts(False, GIVEN, True)}
EVERY = [pytest.param(part, id=f"{kind} {part.name}") for kind, made in ALL.items() for part in made]


def split(part):
    """(options, settings) of a part's words."""
    rest = list(part.words[1:])
    settings = dict(word.removeprefix("--").split("=", 1) for word in rest if "=" in word)
    plain = [word for word in rest if "=" not in word]
    return dict(zip(plain[::2], plain[1::2], strict=True)), settings


@pytest.mark.parametrize("kind", ALL)
def test_checks_come_first_then_what_a_gpu_tells_most_about_then_loaders_epochs_and_accuracies(kind):
    names = [part.name for part in ALL[kind]]
    assert len(set(names)) == len(names)
    first = ["selfcheck"] if kind == "cpu" else ["selfcheck", "accuracy-sprint10", "rates"]
    assert names[: len(first)] == first
    others = [name.split("-")[0] for name in names[len(first):]]
    assert others == sorted(others, key=["loaders", "epochs", "accuracy"].index)
    assert [part.name.startswith("accuracy") for part in ALL[kind]] == [part.resumable for part in ALL[kind]]


@pytest.mark.parametrize("part", EVERY)
def test_a_parts_command_and_recipes_are_there_and_take_its_settings(part):
    assert importlib.util.find_spec(part.words[0]) is not None
    options, settings = split(part)
    for name in options.get("--recipes", "quickstart").split(","):
        recipe = load.load(name, settings=settings)
        refuse_early(recipe, data_needed=False)
        assert not set(settings) - set(recipe.given)


@pytest.mark.parametrize("part", [part for part in ALL["small"] if part.name.startswith("epochs")],
                         ids=lambda part: part.name)
def test_a_small_epochs_recipe_can_be_trained(part):
    options, settings = split(part)
    plan = make_plan(load.load(options["--recipes"], settings=settings))
    assert plan["data"]["name"] == "shapes" and plan["steps_per_epoch"] > 5
    assert all(stage["trainable"] for stage in plan["stages"])


def test_the_folders_of_the_machine_are_not_in_the_file(planted, monkeypatch):
    monkeypatch.setattr(suite, "run", lambda part, rows, seconds, spent_s: {
        "done": True, "status": 0, "seconds": 1.0, "command": part.command})
    assert suite.main(["--json", str(planted.file), "--data.root=/secret", "--data.cache", "/hidden"]) == 0
    found = planted.file.read_text() + planted.page.read_text()
    assert "--data.root=DIR" in found and "/secret" not in found and "/hidden" not in found


@pytest.mark.slow("trains a run")
def test_a_real_accuracy_goes_through_the_suite_to_the_page(planted, tmp_path, monkeypatch):
    words = ("benchmarks.accuracy", "--recipes", "quickstart", "--seeds", "1", "--data.train_count=200",
             "--data.test_count=100", "--data.resolution=16", "--train.batch=90", "--model.width=4", "--model.depth=2",
             "--train.epochs=1", "--train.threads=1", "--run.report=false", f"--data.cache={tmp_path / 'cache'}")
    monkeypatch.setattr(suite, "parts", lambda small, settings, gpu: [Part("accuracy", words, resumable=True)])
    # In this process: the tests of the accuracy benchmark start real ones.
    for module, command in ((suite, accuracy), (accuracy, train)):
        monkeypatch.setattr(module, "run_until", lambda words, deadline, command=command: command.main(words[3:]))
    assert suite.main(["--json", str(planted.file), "--budget-minutes=9"]) == 0
    (row,) = read_rows(planted.file.with_name("suite-accuracy.json"))
    assert row["recipe"] == "quickstart" and row["epochs"] == 1
    assert list((planted.file.with_name("suite-accuracy")).iterdir())
    page = planted.page.read_text()
    assert "done, " in page and row["name"] in page and f"{row['test_top1']:.4g}" in page
    assert shlex.split(state(planted)["accuracy"]["command"])[:3] == ["python", "-m", "benchmarks.accuracy"]
