"""A run's report, one page that opens anywhere: `python -m engine.report RUN [--compare RUN ...]`.

    python -m engine.report RUN                    RUN/report.html, and its figures in RUN/plots
    python -m engine.report --compare RUN RUN ...  compare.html in the first run's folder
"""

import sys
from pathlib import Path

from engine.cli.parser import Parser, run_command

# Settings for where the data and the device are; any other would describe a different run.
ALLOWED = ("data.root", "data.cache", "data.download", "data.workers", "train.device")


def main(argv: list[str] | None = None) -> int:
    """Write the report of a run, or the comparison of several, and print the page's path."""
    parser = Parser("engine.report", __doc__)
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run folder, finished or not")
    parser.add_argument("--compare", nargs="+", default=[], metavar="RUN",
                        help="instead, one page that compares these runs (and RUN)")
    parser.add_argument("--out", metavar="FILE", help="the page's file (default: in the first run's folder)")
    options, settings = parser.read(argv)
    if refused := [path for path in settings if path not in ALLOWED]:
        parser.error(f"--{refused[0]} has no effect on a report, which shows what the run used: give one of "
                     f"{', '.join(ALLOWED)}")
    runs = [Path(run) for run in ([options.run] if options.run else []) + options.compare]
    if not runs:
        parser.error("RUN is missing: give a run folder")
    out = Path(options.out) if options.out else None
    if out and out.is_dir():
        parser.error(f"--out={out} is a folder: give the name of a file")
    if options.compare:
        if len(runs) < 2:
            parser.error("--compare needs two runs or more")
        if settings:
            parser.error(f"--{next(iter(settings))} has no effect on --compare, which reads the run folders only")

        from engine.reporting.comparison import write_comparison

        print(write_comparison(runs, out))
        return 0

    from engine.reporting.run_report import write_report

    print(write_report(runs[0], out, settings, lambda line: print(line, file=sys.stderr)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
