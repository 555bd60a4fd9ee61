"""A run as a folder to share, with its model card, and that folder on the Hugging Face Hub."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import UndefinedError

from engine.common.errors import EngineError
from engine.common.files import expand, make_folder, read_json, remove, write_atomic
from engine.common.optional import import_extra
from engine.inference.trained import open_trained
from engine.reporting.model_card import PRIVATE, model_card, public_command
from engine.storage import shared_folder
from engine.storage.run_record import Record, read_record
from engine.storage.weights_hash import weights_sha256

CARD, REPORT, CURVES = "README.md", "report.html", "overview.png"
# The first one marks the folder as a shared run's: written first, it identifies even an incomplete folder.
FILES = (shared_folder.CONFIG, shared_folder.WEIGHTS, shared_folder.HISTORY, REPORT, CURVES, CARD)
FINISHED = "give the folder of a finished run"


def refuse_repo(repo_id: str) -> None:
    """EngineError if `repo_id` is no valid name of a repository on the Hub."""
    errors, utils = (import_extra(f"huggingface_hub.{name}", "sharing", "share") for name in ("errors", "utils"))
    try:
        utils.validate_repo_id(repo_id)
    except errors.HFValidationError as error:
        reason = " ".join(str(error).split())
        raise EngineError(f"--push={repo_id} is no repository on the Hub: give OWNER/NAME ({reason})") from None
    if "/" not in repo_id:
        raise EngineError(f"--push={repo_id} lacks the owner: give OWNER/NAME")


def write_folder(run_folder: Path, out: Path, repo_id: str, licence: str | None = None) -> list[Path]:
    """Write the content of `repo_id`, a finished run, into `out`: weights, config.json, metrics, card; their paths.

    Makes everything before it writes anything. Raises EngineError if the run is not finished, its summary does not
    match the weights in last.pt, or `out` holds other files.
    """
    summary, env = (read_json(run_folder / name, FINISHED) for name in ("summary.json", "env.json"))
    trained = open_trained(str(run_folder), device="cpu")
    weights_hash = weights_sha256(trained.model)
    if weights_hash != summary.get("weights_sha256"):
        raise EngineError(f"{run_folder / 'summary.json'} does not match the weights in last.pt, so its results may "
                          "not be theirs: let the run finish")
    refuse_other(out)
    contents = shared_folder.pack(trained.recipe, trained.class_names, trained.model.state_dict(), weights_hash,
                                  trained.epoch, trained.history, trained.side_px)
    if (run_folder / "plots" / CURVES).is_file():
        contents[CURVES] = (run_folder / "plots" / CURVES).read_bytes()
    if (run_folder / REPORT).is_file():
        contents[REPORT] = public_report(run_folder).encode()
    names = [name for name in FILES if name in contents or name == CARD]
    try:
        contents[CARD] = model_card(repo_id, trained.recipe, trained.class_names, trained.side_px, summary, env, names,
                                    licence).encode()
    except (KeyError, TypeError, UndefinedError) as error:
        raise EngineError(f"{run_folder / 'summary.json'} or env.json is incomplete ({error}): only a finished run "
                          "can be shared") from None
    make_folder(out)
    remove(*(out / name for name in FILES if name not in contents), *parts(out))
    for name in names:
        write_atomic(out / name, contents[name])
    return [out / name for name in names]


def public_report(run_folder: Path) -> str:
    """A new report of the run without what identifies the machine: folders, the command line as typed, and notes, which
    name folders too. It leaves out sections that cannot be made."""
    from engine.reporting.html_page import render
    from engine.reporting.run_report import is_missing, sections_of

    record = read_record(run_folder)
    hidden = (*shared_folder.PLACES, *PRIVATE)
    record = replace(record, settings={path: value for path, value in record.settings.items() if path not in hidden},
                     env={key: value for key, value in record.env.items() if key != "argv"} | public_folders(record),
                     command=public_command(record.command), missing=())
    with TemporaryDirectory() as plots:
        sections = sections_of(record, Path(plots))
    return render(record.title, "", [section for section in sections if not is_missing(section)])


def public_folders(record: Record) -> dict[str, dict[str, str]]:
    """The entry of env.json that says which folder each split is, without the machine's part of the paths."""
    root, folders = expand(record.settings.get("data.root", "")), record.env.get("folders")
    return {"folders": {split: "DIR" if Path(folder) == root else f"DIR/{Path(folder).name}"
                        for split, folder in folders.items()}} if isinstance(folders, dict) else {}


def refuse_other(out: Path) -> None:
    """EngineError if `out` holds anything but a shared run."""
    if out.exists() and not out.is_dir():
        raise EngineError(f"--out={out} is a file: give a folder")
    config = out / shared_folder.CONFIG
    ours = config.is_file() and read_json(config, FINISHED).get("format") == shared_folder.FORMAT
    there = {path.name for path in out.iterdir()} if out.exists() else set()
    others = sorted(there - {path.name for path in parts(out)} - set(FILES if ours else ()))
    if others:
        raise EngineError(f"--out={out} holds {others[0]}, which is not part of a shared run: give a new folder")


def parts(out: Path) -> list[Path]:
    """The partly written FILES that a killed process left in `out`."""
    return [path for name in FILES for path in out.glob(f".{name}.*.part")]


def push(folder: Path, repo_id: str, private: bool) -> str:
    """Create the repository if it is missing, upload the folder's files, and return the address. Raises EngineError if
    that fails, or, before any upload, if `private` is set and the repository is public."""
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        hub.create_repo(repo_id, private=private, exist_ok=True)
        # An existing repository keeps its visibility.
        if private and not hub.repo_info(repo_id).private:
            raise EngineError(f"--push={repo_id} already exists and is public, so nothing was pushed: make it "
                              "private on the Hub, give another name, or leave --private out")
        hub.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=list(FILES),
                          commit_message="Model shared by Cadence")
    except EngineError:
        raise
    except Exception as error:
        # It also raises the errors of its HTTP library, which differs between its versions.
        reason = (" ".join(str(error).split()) or type(error).__name__)[:300]
        raise EngineError(f"{repo_id} was not pushed ({reason}): check the network and `hf auth login`, then push "
                          f"again; {folder} is complete") from None
    return f"https://huggingface.co/{repo_id}"
