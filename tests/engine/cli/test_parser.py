"""The command line's own part: settings, options, and errors as one line with status 2. Real commands, in process."""

import errno
import io
import os
import sys
from functools import partial

import pytest

from engine import data, evaluate, train
from engine.cli.console import Screen
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from recipes.settings.schema import declare


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command's main in an empty folder: its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(module, *words):
        with pytest.raises(SystemExit) as ended:
            run_command(partial(module.main, list(words)))
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(command, tmp_path):
    """The one line that a command is refused with; it leaves nothing behind."""
    def run(module, *words):
        status, shown, said = command(module, *words)
        assert status == 2 and not shown and not (tmp_path / "runs").exists()
        assert said.startswith("error: ") and said.count("\n") == 1, said
        return said

    return run


def test_settings_are_taken_with_an_equals_sign_or_a_space():
    parser = Parser("engine.train", "")
    parser.add_argument("--recipe")
    options, settings = parser.read(["--train.epochs=3", "--recipe", "a", "--data.root", "x", "--run.folder="])
    assert settings == {"train.epochs": "3", "data.root": "x", "run.folder": ""} and options.recipe == "a"


@pytest.mark.parametrize(("words", "said"), [
    (["--recip", "a"], "--recip is unknown; did you mean --recipe?"),
    (["--train.epochs"], "--train.epochs needs a value"),
    (["--train.epochs", "--recipe", "a"], "--train.epochs needs a value"),
    (["stray"], "stray is unknown (see --help)"),
    (["--epochs", "3"], "--epochs is unknown; did you mean --train.epochs=3? (see --help)"),
    (["--epochs=3"], "--epochs=3 is unknown; did you mean --train.epochs=3?"),
    (["--epoch", "--recipe", "a"], "--epoch is unknown; did you mean --train.epochs=VALUE?"),
    (["train.epochs=3"], "train.epochs=3 is unknown; did you mean --train.epochs=3?"),
    (["epochs=3"], "epochs=3 is unknown; did you mean --train.epochs=3?"),
    (["-lr", "0.1"], "-lr is unknown; did you mean --schedule.lr=0.1?"),
    (["--weight-decay=5e-4"], "did you mean --optim.weight_decay=5e-4?"),
    (["--batch-size", "64"], "--batch-size is unknown; did you mean --train.batch=64 or --eval.batch=64?"),
    (["--name=cnn"], "did you mean --data.name=cnn or --model.name=cnn or --optim.name=cnn or --schedule.name=cnn?"),
    (["--data-root", "x y"], "--data-root is unknown; did you mean --data.root=x y?"),
    (["--bs", "64"], "--bs is unknown (see --help)"), (["--out", "x"], "--out is unknown (see --help)"),
    (["--train.epochs=3", "--train.epochs=4"], "--train.epochs is given twice: keep one of 3 and 4"),
])
def test_what_cannot_be_read_is_one_line(words, said):
    parser = Parser("engine.train", "")
    parser.add_argument("--recipe")
    with pytest.raises(EngineError) as caught:
        parser.read(words)
    assert said in str(caught.value)


def test_without_settings_only_options_are_meant():
    parser = Parser("engine.predict", "", settings=False)
    parser.add_argument("--top")
    for words, said in ((["--epochs=3"], "--epochs=3 is unknown (see --help)"), (["--tops=3"], "did you mean --top?")):
        with pytest.raises(EngineError) as caught:
            parser.read(words)
        assert said in str(caught.value)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_was_closed_at_the_start_is_the_null_device(monkeypatch, name):
    def shows():
        stream = getattr(sys, name)
        assert stream.name == os.devnull
        Screen(stream).say("into nothing")

    monkeypatch.setattr(sys, name, None)
    with pytest.raises(SystemExit) as left:
        run_command(shows)
    getattr(sys, name).close()
    assert left.value.code == 0


class Full(io.StringIO):
    """A stream to a full disk."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("ends", "status"), [(None, 0), (EngineError("no"), 2), (KeyboardInterrupt(), 130)], ids=str)
def test_what_cannot_be_shown_changes_no_status(monkeypatch, ends, status):
    def shows():
        print("a line")
        print("a warning", file=sys.stderr, flush=True)
        if ends:
            raise ends

    streams = Full(), Full()
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    with pytest.raises(SystemExit) as left:
        run_command(shows)
    assert left.value.code == status and (sys.stdout, sys.stderr) == streams


def test_a_bug_is_not_taken_for_a_users_mistake():
    def broken():
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run_command(broken)


def test_help_names_every_setting_with_its_default_and_unit(command):
    status, text, _ = command(train, "--help")
    assert status == 0
    for path, param in declare().entries.items():
        assert ".".join(path) in text
        assert param.unit in text


def test_list_shows_every_recipe_in_a_line(command):
    status, text, _ = command(train, "--list")
    lines = text.splitlines()
    assert status == 0
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)
    assert any(line.startswith("quickstart") for line in lines)


@pytest.mark.parametrize(("words", "said"), [
    ([], "--recipe is missing"),
    (["--recipe", "resnet43"], "recipe resnet43 is unknown; did you mean resnet34?"),
    (["--recipe", "baseline", "--train.epoch=3"], "did you mean train.epochs?"),
    (["--recipe", "baseline", "--train.epochs=three"], "train.epochs=three must be a number above 0..100000"),
    (["--recipe", "baseline", "--data.root=/nowhere"], "data.root=/nowhere is not a folder"),
    (["--recipe", "quickstart", "--train.batch=20000"], "train.batch=20000 is larger than the 9,000 training images"),
    (["--recipe", "quickstart", "--augment.policy=flop()"], "unknown operation 'flop'; did you mean flip?"),
    (["--recipe", "quickstart", "--augment.policy=crop(pad_px=40)"], "pad_px"),
    (["--recipe", "quickstart", "--augment.policy=__import__('os').mkdir('x')"], "policy"),
    (["--recipe", "quickstart", "--config-file", "/nowhere.yaml"], "config file /nowhere.yaml cannot be read"),
    (["--recipe", "quickstart", "--plan", "--augment.policy=crop(pad_px=40)"], "pad_px"),
    (["--recipe", "quickstart", "--train.accumulate=1000"], "is more than the 71 batches of an epoch"),
    (["--recipe", "quickstart", "--data.root=/x"], "data.root=/x has no effect here"),
    (["--recipe", "quickstart", "--json", "x"], "--json goes with --plan"),
    (["--recipe", "quickstart", "--plan", "--json", "/dev/null/x"], "cannot be written"),
    (["--recipe", "quickstart", "--run.folder=" + "x" * 300], "is longer than a name may be"),
    (["--resume", "/nowhere"], "/nowhere does not exist"),
    (["--resume", "x", "--recipe", "baseline"], "--resume takes the recipe from the run's folder"),
])
def test_a_bad_training_command_is_one_line_with_status_2(words, said, refused):
    assert said in refused(train, *words)


def test_an_unwritable_run_folder_is_refused_before_any_work(tmp_path, refused):
    (tmp_path / "file").write_text("")
    said = refused(train, "--recipe", "quickstart", f"--run.folder={tmp_path}/file/run")
    assert "is not a folder that can be" in said
    (tmp_path / "config.yaml").write_text("")
    assert "already holds a run" in refused(train, "--recipe", "quickstart", f"--run.folder={tmp_path}")


def test_settings_without_effect_on_a_command_are_refused(refused):
    assert "--train.epochs has no effect on data" in refused(data, "convert", "--train.epochs=3")
    assert "--schedule.lr has no effect" in refused(evaluate, "x", "--schedule.lr=3")
