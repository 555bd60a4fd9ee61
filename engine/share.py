"""Share a finished run on the Hugging Face Hub, with a model card made from it.

    python -m engine.share RUN --push OWNER/NAME [--private] [--dry-run] [--out DIR]

From Python, `load_shared(DIR)` opens such a folder.
"""

import sys
from pathlib import Path

from engine.cli.parser import Parser, run_command


def load_shared(folder: str | Path, device: str = "auto"):
    """The network in a folder that this command wrote, as engine.inference.trained.Trained; loading it runs no code.
    device: as the setting train.device. Raises EngineError if the folder is damaged or holds something else."""
    from engine.inference.trained import open_shared

    return open_shared(Path(folder), device)


def main(argv: list[str] | None = None) -> int:
    """Write the folder of a run, push it unless it is a dry run, and print what was done."""
    parser = Parser("engine.share", __doc__, settings=False)
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run")
    parser.add_argument("--push", metavar="OWNER/NAME", help="the repository on the Hub, created if missing")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--dry-run", action="store_true", help="write the folder, push nothing")
    parser.add_argument("--out", metavar="DIR", help="the folder to push (default: RUN/share)")
    parser.add_argument("--license", metavar="ID", help="the weights' licence, by its name on the Hub (default: none)")
    options, _ = parser.read(argv)
    if not options.push:
        parser.error("--push OWNER/NAME is missing: the card names the repository, also in a dry run")
    if options.dry_run and options.private:
        parser.error("--private has no effect in a dry run: leave one of them out")

    from engine.reporting.hub import push, refuse_repo, write_folder

    refuse_repo(options.push)
    run_folder = Path(options.run)
    out = Path(options.out) if options.out else run_folder / "share"
    written = write_folder(run_folder, out, options.push, options.license)
    for path in written:
        print(f"{path}  {path.stat().st_size:,} bytes")
    if options.dry_run:
        print(f"nothing was pushed; without --dry-run, this pushes {out} to {options.push}")
    else:
        print(push(out, options.push, options.private))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
