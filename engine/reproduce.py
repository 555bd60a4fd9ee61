"""Run a finished run again from its folder and compare, bit for bit: `python -m engine.reproduce RUN [--out DIR]`.

Exit status 0 where the weights are the same bits, 1 where they are not.
"""

import sys
from pathlib import Path

from engine.cli.parser import Parser, run_command


def main(argv: list[str] | None = None) -> int:
    """Read the run, train it again, compare and show."""
    parser = Parser("engine.reproduce", __doc__, settings=False)
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run")
    parser.add_argument("--out", metavar="DIR", help="where the second run goes (default: RUN/reproduced)")
    parser.add_argument("--json", metavar="FILE", help="write the comparison as JSON")
    options, _ = parser.read(argv)
    first = Path(options.run)
    folder = Path(options.out) if options.out else first / "reproduced"

    from engine.common.files import write_json
    from engine.session import launch
    from engine.storage.reproduction import compare, read_run, recipe_again, show

    summary, history = read_run(first)
    recipe = recipe_again(first, folder, summary)
    status = launch.start(recipe)
    if status:
        return status
    compared = compare((summary, history), read_run(folder), extended=(first / "summary.previous.json").exists(),
                       deterministic=recipe.get("train.deterministic"))
    if options.json:
        write_json(Path(options.json), compared)
    show(compared)
    return 0 if compared["same_weights"] else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
