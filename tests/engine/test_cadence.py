"""One command: every module of engine/ is a subcommand, the help is quick, completion works where it is sourced."""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine import cadence
from engine.cli import completion
from engine.cli.overview import OVERVIEW, SUMMARIES
from engine.common.errors import EngineError
from recipes.settings import load
from recipes.settings.schema import declare

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "torchvision", "ffcv", "numba", "numpy", "rich", "fastargs", "argparse", "recipes", "loaders"}
ASK = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(( $# - 1 ))
_cadence 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


def run(*words):
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=120)


def called(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["cadence", *words])
    return cadence.main()


def is_command(path):
    """Whether a file has a main and runs it as a program."""
    body = ast.parse(path.read_text()).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in body) and any(
        isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'" for node in body)


def test_the_subcommands_are_the_modules_of_engine():
    modules = {path.stem for path in (ROOT / "engine").glob("*.py") if is_command(path)} - {"cadence"}
    assert modules == set(SUMMARIES)


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)], ids=str)
def test_the_help_shows_every_command(words, monkeypatch, capsys):
    assert called(monkeypatch, *words) == 0
    shown = capsys.readouterr().out
    assert shown == OVERVIEW + "\n" and max(map(len, shown.splitlines())) <= 120
    for name, summary in SUMMARIES.items():
        assert re.search(rf"^  cadence {name} .* {re.escape(summary)}$", shown, re.MULTILINE)


def test_the_documentation_shows_the_help_as_it_is():
    assert OVERVIEW in (ROOT / "docs" / "cadence.md").read_text("utf-8")


@pytest.mark.slow("starts a process that has imported nothing")
def test_the_help_imports_nothing_that_takes_time():
    code = ("import sys; from engine import cadence; sys.argv = ['cadence', '--help']; cadence.main(); "
            "print(*{name.partition('.')[0] for name in sys.modules})")
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.splitlines()[-1].split())


@pytest.mark.slow("starts processes to compare")
def test_a_subcommand_is_its_module():
    ours, theirs = run("engine.cadence", "train", "--list"), run("engine.train", "--list")
    assert (ours.stdout, ours.stderr, ours.returncode) == (theirs.stdout, "", 0) and "quickstart" in ours.stdout
    ours, theirs = run("engine.cadence", "train", "--recipe", "none"), run("engine.train", "--recipe", "none")
    assert (ours.stdout, ours.stderr, ours.returncode) == ("", theirs.stderr, 2)
    assert ours.stderr.startswith("error: recipe none is unknown") and ours.stderr.count("\n") == 1


def test_the_version_is_the_installed_one(monkeypatch, capsys):
    monkeypatch.setattr("importlib.metadata.version", lambda name: {"cadence-train": "1.2.3"}[name])
    assert called(monkeypatch, "--version") == 0 and capsys.readouterr().out == "cadence 1.2.3\n"
    monkeypatch.undo()


@pytest.mark.slow("starts a process whose output nobody reads")
@pytest.mark.parametrize("words", [["completion", "zsh"], ["--help"]], ids=" ".join)
def test_a_reader_that_has_read_enough_is_no_error(words):
    if words[0] == "completion":
        pytest.importorskip("shtab")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody_reads:
        done = subprocess.run([sys.executable, "-m", "engine.cadence", *words], cwd=ROOT, stdout=nobody_reads,
                              stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("words", "said"), [
    (["trian"], "trian is not a command; did you mean train? known: doctor, data, train"),
    (["xyzzy"], "xyzzy is not a command; known: doctor, data, train"),
    (["--recipe", "cnn"], "--recipe is not a command"),
    (["completion"], "completion takes one shell (bash, zsh, fish), not none"),
    (["completion", "csh"], "not csh"),
    (["completion", "bash", "zsh"], "not bash zsh"),
])
def test_what_cannot_be_run_is_one_line_with_status_2(words, said, monkeypatch, capsys):
    assert called(monkeypatch, *words) == 2
    shown = capsys.readouterr()
    assert not shown.out and shown.err.startswith("error: ") and shown.err.count("\n") == 1 and said in shown.err


def test_completion_without_shtab_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(EngineError, match=re.escape("pip install 'cadence-train[completion]'")):
        completion.script(["bash"])


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """Each shell's script as a file."""
    pytest.importorskip("shtab")
    folder = tmp_path_factory.mktemp("completion")
    for shell in completion.SHELLS:
        (folder / shell).write_text(completion.script([shell]))
    return folder


@pytest.mark.parametrize(("shell", "before"), [("bash", "--"), ("zsh", "--"), ("fish", "-l ")])
def test_every_shell_knows_commands_recipes_and_settings(scripts, shell, before):
    text = (scripts / shell).read_text()
    for path in declare().entries:
        assert before + ".".join(path) in text
    for word in (*load.names(), *SUMMARIES):
        assert re.search(rf"\b{word}\b", text)


@pytest.fixture(scope="module")
def ask(scripts):
    """What bash offers for words, the last of which is being written (it cuts words at "=")."""
    bash = shutil.which("bash") or pytest.skip("there is no bash here")

    def answers(*words):
        done = subprocess.run([bash, "--norc", "-c", ASK, "bash", scripts / "bash", "cadence", *words], cwd=ROOT,
                              capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and not done.stderr
        return done.stdout.split()

    return answers


@pytest.mark.slow("starts bash")
@pytest.mark.parametrize(("words", "offered"), [
    (["lr"], ["lr_find"]),
    (["train", "--recipe", "base"], ["baseline", "baseline_onecycle"]),
    (["train", "--recipe", "=", "resnet3"], ["resnet34"]),
    (["train", "--train.ep"], ["--train.epochs"]),
    (["train", "--data.name", "ci"], ["cifar10", "cifar100"]),
    (["train", "--data.name", "="], ["cifar10", "cifar100", "folder", "shapes"]),
    (["train", "--data.name", "=", "f"], ["folder"]),
    (["train", "--data.name", "=", "folder", "--data.dow"], ["--data.download"]),
    (["train", "--data.download", "=", ""], ["true", "false"]),
    (["data", "ex"], ["explore"]),
    (["data", "explore", "--js"], ["--json"]),
    (["train", "--data.root", "=", "recip"], ["recipes"]),
    (["train", "--config-file", "READ"], ["README.md"]),
    (["evaluate", "READ"], ["README.md"]),
    (["reproduce", "--train.ep"], []),
    (["completion", ""], ["bash", "zsh", "fish"]),
    (["export", "RUN", "--format", "to"], ["torch-export"]),
])
def test_bash_completes(ask, words, offered):
    assert ask(*words) == offered


@pytest.mark.slow("starts bash")
def test_bash_offers_every_command(ask):
    assert ask("") == [*SUMMARIES, "completion"]


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_options_read_from_a_commands_source_are_those_of_its_help(name, capsys):
    source = ast.parse((ROOT / "engine" / f"{name}.py").read_text())
    command = importlib.import_module(f"engine.{name}")
    with pytest.raises(SystemExit) as ended:
        command.main(["--recipe", "--help"] if name == "doctor" else ["--help"])
    own, _, settings = capsys.readouterr().out.partition("Settings, as")
    shown = set(re.findall(r"^ {2}(?:-\w, )?(--[\w-]+)", own, re.MULTILINE)) - {"--help"}
    assert ended.value.code == 0
    assert shown == {names[-1] for names in completion.options_of(source) if names[-1].startswith("--")}
    assert completion.takes_settings(source) == bool(settings)
