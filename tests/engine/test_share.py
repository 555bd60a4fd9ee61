"""Sharing a run: the folder loads back bit for bit, and the card shows the run folder's facts and nothing private."""

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from engine import evaluate, share
from engine.common.errors import EngineError
from engine.inference.trained import open_trained
from engine.reporting import hub

pytestmark = pytest.mark.slow("needs a trained run")

pytest.importorskip("huggingface_hub")
pytest.importorskip("safetensors")
ROOT = Path(__file__).resolve().parents[2]
IMAGES = torch.arange(4 * 24 * 24 * 3, dtype=torch.int64).mul(37).remainder(251).to(torch.uint8).view(4, 24, 24, 3)


@pytest.fixture
def run(reported_run, tmp_path):
    """A copy of that run for a test to change."""
    return shutil.copytree(reported_run, tmp_path / "run")


@pytest.fixture(scope="module")
def dry_run(reported_run, tmp_path_factory):
    """(the folder that a dry run leaves, what it prints)"""
    out, said = tmp_path_factory.mktemp("out") / "share", io.StringIO()
    with mock.patch.object(hub, "push", None), contextlib.redirect_stdout(said):
        assert share.main([str(reported_run), "--push", "me/small", "--dry-run", "--out", str(out)]) == 0
    return out, said.getvalue()


@pytest.fixture(scope="module")
def shared(dry_run):
    """The folder that a dry run leaves."""
    return dry_run[0]


def test_a_dry_run_leaves_the_whole_folder_and_says_that_nothing_was_pushed(dry_run):
    out, said = dry_run
    assert sorted(path.name for path in out.iterdir()) == sorted(hub.FILES)
    assert "nothing was pushed" in said


FRESH = """
import sys, torch
from engine.share import load_shared
trained = load_shared(sys.argv[1], device="cpu")
images = torch.load(sys.argv[2])
answer = {"logits": trained.logits(images), "names": trained.class_names, "history": len(trained.history)}
torch.save(answer, sys.argv[3])
assert not trained.model.training and trained.side_px == 24
"""


def test_the_folder_loads_back_in_a_fresh_process_bit_for_bit(reported_run, shared, tmp_path):
    torch.save(IMAGES, tmp_path / "images.pt")
    done = subprocess.run([sys.executable, "-c", FRESH, shared, tmp_path / "images.pt", tmp_path / "answer.pt"],
                          cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer, here = torch.load(tmp_path / "answer.pt"), open_trained(str(reported_run), device="cpu")
    assert torch.equal(answer["logits"], here.logits(IMAGES)) and not torch.equal(*answer["logits"][:2])
    assert answer["names"] == here.class_names and answer["history"] == 4


def test_a_folder_opens_like_a_checkpoint(reported_run, shared):
    assert torch.equal(open_trained(str(shared), device="cpu").logits(IMAGES),
                       open_trained(str(reported_run), device="cpu").logits(IMAGES))


def test_the_folder_is_evaluated_like_its_run_and_stays_unchanged(run, shared, tmp_path, reported_run, capsys):
    there = sorted(shared.iterdir())
    settings = [f"--data.cache={reported_run.parent / 'cache'}", "--train.device=cpu"]
    for folder in (run, shared):
        assert evaluate.main([str(folder), *settings, "--json", str(tmp_path / f"{folder.name}.json")]) == 0
    own, theirs = (json.loads((tmp_path / f"{folder.name}.json").read_text()) for folder in (run, shared))
    assert {**theirs, "checkpoint": own["checkpoint"]} == own and theirs["images"] == 400
    assert sorted(shared.iterdir()) == there and "only with --out=DIR" in capsys.readouterr().out
    assert evaluate.main([str(shared), *settings, "--out", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "confusion.csv").read_bytes() == (run / "confusion.csv").read_bytes()


def test_the_card_has_the_runs_figures_for_the_hub(reported_run, shared):
    from huggingface_hub import ModelCard

    card, summary = ModelCard.load(shared / "README.md"), json.loads((reported_run / "summary.json").read_text())
    assert [(one.metric_name, one.metric_value) for one in card.data.eval_results] == [
        ("test top-1 accuracy", summary["test_top1"]), ("test top-5 accuracy", summary["test_top5"])]
    assert card.data.pipeline_tag == "image-classification" and "shapes" in card.data.tags
    assert card.data.get("license") is None and card.data.get("datasets") is None
    text = card.text
    for said in (f"{summary['test_top1']:.2%}", f"{summary['parameters']:,} parameters",
                 "disc, square", "exponential average of the weights", "24 x 24 px", "--train.epochs=4",
                 summary["commit"], "snapshot_download(\"me/small\")", "| `train.batch` | `25` |",
                 "1,800 images for training, 200 held out", "resize(px=24)"):
        assert said in text, said


def test_no_file_names_the_machine_or_has_placeholders(reported_run, shared):
    for path in shared.iterdir():
        content = path.read_bytes()
        assert str(reported_run.parent).encode() not in content, path
        if path.name == "README.md":
            assert not re.search(rb"(?i)more information|\b(todo|none|null|nan)\b|<!--", content), content


def test_the_shared_report_is_the_runs_without_the_machines_settings(reported_run, shared):
    page, own = (folder.joinpath("report.html").read_text() for folder in (shared, reported_run))
    assert str(reported_run) in own and "data.cache" in own and "argv" in own
    for private in ("data.cache", "run.folder", "argv", "/tmp", str(Path.home())):
        assert f">{private}" not in page and f"={private}" not in page, private
    for kept in ("train.batch", "versions: torch", "predictions", "gradcam", "--train.epochs=4"):
        assert kept in page, kept


def test_the_report_of_a_run_whose_data_are_gone_is_shared_without_the_sections_that_need_them(run, monkeypatch):
    def gone(*_):
        raise EngineError(f"{run} is not a folder: give another")

    monkeypatch.setattr("engine.reporting.run_report.open_run_data", gone)
    page = hub.public_report(run)
    assert str(run) not in page and '<section id="curves"' in page and '<section id="answers"' not in page


class FakeHub:
    """Takes what is pushed, or fails as the real one does without a network."""

    def __init__(self, error=None, private=True):
        self.error, self.private, self.calls = error, private, []

    def create_repo(self, repo_id, *, private, exist_ok):
        self.calls.append(("create", repo_id, private, exist_ok))
        if self.error:
            raise self.error

    def repo_info(self, repo_id):
        return SimpleNamespace(private=self.private)

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
        self.calls.append(("upload", repo_id, Path(folder_path), sorted(allow_patterns)))


def test_a_push_makes_the_repository_and_uploads_the_folders_own_files(run, tmp_path, monkeypatch, capsys):
    (run / "report.html").unlink()
    fake, out = FakeHub(), tmp_path / "out"
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: fake)
    assert share.main([str(run), "--push", "me/small", "--private", "--out", str(out)]) == 0
    assert fake.calls == [("create", "me/small", True, True), ("upload", "me/small", out, sorted(hub.FILES))]
    assert capsys.readouterr().out.endswith("https://huggingface.co/me/small\n")


def test_a_private_push_into_an_existing_public_repository_is_refused(shared, monkeypatch):
    fake = FakeHub(private=False)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: fake)
    with pytest.raises(EngineError, match=r"^--push=me/x already exists and is public, so nothing was pushed"):
        hub.push(shared, "me/x", True)
    assert [call[0] for call in fake.calls] == ["create"]
    assert hub.push(shared, "me/x", False) and fake.calls[-1][0] == "upload"


def test_without_a_network_the_folder_stays_and_the_error_is_one_line(shared, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: FakeHub(ConnectionError("no route\nto host")))
    with pytest.raises(EngineError, match=r"me/x was not pushed \(no route to host\): check the network") as caught:
        hub.push(shared, "me/x", False)
    assert "\n" not in str(caught.value) and (shared / "README.md").is_file()


def test_the_default_folder_is_in_the_run_and_is_written_again(run, monkeypatch):
    monkeypatch.setattr(hub, "public_report", lambda _: "a page")
    for name in ("me/one", "me/two"):
        assert share.main([str(run), "--push", name, "--dry-run"]) == 0
        (run / "report.html").unlink(missing_ok=True)
    assert "# two" in (run / "share" / "README.md").read_text()
    assert not (run / "share" / "report.html").exists(), "an old file stayed"


@pytest.mark.parametrize("written", range(4))
def test_a_folder_that_a_killed_process_left_is_written_again(written, run, monkeypatch):
    class Killed(BaseException):
        """Ends a process at once."""

    def cut_short(path, content):
        if len(done) == written:
            path.with_name(f".{path.name}.99.part").write_bytes(content[:10])
            raise Killed
        done.append(path)
        plain(path, content)

    (run / "report.html").unlink()
    plain, done = hub.write_atomic, []
    with monkeypatch.context() as dying:
        dying.setattr(hub, "write_atomic", cut_short)
        with pytest.raises(Killed):
            share.main([str(run), "--push", "me/x", "--dry-run"])
    assert share.main([str(run), "--push", "me/x", "--dry-run"]) == 0
    assert {path.name for path in (run / "share").iterdir()} == set(hub.FILES) - {"report.html"}


def test_a_folder_of_something_else_keeps_files_with_our_names(run):
    (run / "share").mkdir()
    (run / "share" / "README.md").write_text("years of work")
    with pytest.raises(EngineError, match=r"holds README\.md, which is not part of a shared run"):
        share.main([str(run), "--push", "me/x", "--dry-run"])


@pytest.mark.parametrize(("words", "message"), [
    ([], "--push OWNER/NAME is missing"),
    (["--push", "small", "--dry-run"], "--push=small lacks the owner"),
    (["--push", "a/b/c", "--dry-run"], "--push=a/b/c is no repository on the Hub: give OWNER/NAME"),
    (["--push", "a/b--c", "--dry-run"], "is no repository on the Hub"),
    (["--push", "a/b", "--dry-run", "--private"], "--private has no effect in a dry run"),
    (["--push", "a/b", "--dryrun"], "--dryrun is unknown; did you mean --dry-run"),
])
def test_a_bad_command_is_refused_in_one_line(words, message, run):
    with pytest.raises(EngineError) as caught:
        share.main([str(run), *words])
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (run / "share").exists()


def spoil_summary(run):
    file = run / "summary.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "weights_sha256": "0" * 64}))


def other_folder(run):
    (run / "share").mkdir()
    (run / "share" / "thesis.tex").write_text("years of work")


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda run: (run / "summary.json").unlink(), r"summary\.json is missing or damaged: give the folder"),
    (lambda run: (run / "summary.json").write_text("{"), "missing or damaged"),
    (lambda run: (run / "checkpoints" / "last.pt").unlink(), "has no checkpoints/last.pt"),
    (spoil_summary, "does not match the weights in last.pt"),
    (other_folder, "holds thesis.tex, which is not part of a shared run"),
])
def test_an_incomplete_run_leaves_nothing_behind(spoil, message, run):
    spoil(run)
    before = sorted(path for path in run.rglob("*"))
    with pytest.raises(EngineError, match=message) as caught:
        share.main([str(run), "--push", "me/x", "--dry-run"])
    assert "\n" not in str(caught.value) and sorted(path for path in run.rglob("*")) == before


def edit(name, change):
    def apply(folder):
        file = folder / name
        file.write_bytes(change(file.read_bytes()))

    return apply


def config(**changes):
    return edit("config.json", lambda content: json.dumps({**json.loads(content), **changes}).encode())


@pytest.mark.parametrize(("spoil", "message"), [
    (edit("model.safetensors", lambda content: content[:-8]), "model.safetensors cannot be read"),
    (edit("model.safetensors", lambda content: content[:-1] + b"\x7f"), "its weights do not match the hash"),
    (edit("config.json", lambda content: b"{"), "config.json is missing or damaged"),
    (config(format="other"), "was not written by engine.share"),
    (config(class_names=[]), "was not written by engine.share"),
    (config(class_names=["one"]), "is of another model"),
    (config(values={"model.name": "os.system"}), "does not fit this version of Cadence: model.name=os.system"),
    (edit("metrics.jsonl", lambda content: b"{"), "metrics.jsonl is missing or damaged"),
])
def test_a_damaged_or_foreign_folder_is_one_line(spoil, message, shared, tmp_path):
    folder = shutil.copytree(shared, tmp_path / "copy")
    spoil(folder)
    with pytest.raises(EngineError, match=message) as caught:
        share.load_shared(folder, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["huggingface_hub", "safetensors"])
def test_a_missing_package_is_one_line(package, run, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "huggingface_hub.errors", raising=False)
    with pytest.raises(EngineError, match=r"needs the (huggingface_hub|safetensors) package: pip install"):
        share.main([str(run), "--push", "me/x", "--dry-run"])
