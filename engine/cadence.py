"""One command for everything: `cadence train ...` is `python -m engine.train ...`."""

import difflib
import os
import runpy
import sys

# What one does, and the commands for it with what they bring. Each command's first word is a file of this room.
STORY = (
    ("Is everything there?", (
        ("doctor", "what is installed, and what mends what is missing"),
    )),
    ("Look at your data", (
        ("data explore --data.name=cifar10", "classes, channels, samples, images that come twice"),
        ("data sheet --recipe NAME", "what augmentation makes of them"),
    )),
    ("Plan", (
        ("train --list", "the recipes"),
        ("train --recipe NAME --plan", "stages, rates, parameters, steps: without data"),
        ("lr_find --recipe NAME", "a learning rate, with its picture"),
        ("doctor --recipe NAME", "what bounds its speed, and what to change"),
    )),
    ("Train", (
        ("train --recipe NAME --data.root=DIR", "into runs/NAME/TIME"),
        ("train --resume RUN", "goes on after Ctrl-C, to the same bits"),
    )),
    ("See what came of it", (
        ("evaluate RUN", "accuracy, also per class, and the confusion matrix"),
        ("report RUN", "one page: curves, mistakes, where the network looks"),
        ("report --compare RUN RUN2", "runs over each other, and what differs"),
    )),
    ("Use it", (
        ("predict RUN IMAGE ...", "the most probable classes of your own images"),
        ("demo RUN", "a page on this machine to try it on"),
    )),
    ("Hand it on", (
        ("export RUN --format onnx", "also safetensors, torch-export, int8; checked first"),
        ("share RUN --push REPO_ID", "to the Hugging Face Hub, with a model card"),
    )),
    ("Go further", (
        ("sweep --recipe NAME --space FILE", "better settings, chosen on held-out images"),
        ("reproduce RUN", "the same run again, compared with the first"),
    )),
)
COMMANDS = tuple(dict.fromkeys(words.split()[0] for _, lines in STORY for words, _ in lines))


def main() -> int:
    """The command: the story of a run, completion, or the door that the first word names."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        return say(story())
    if words == ["--version"]:
        return say(f"cadence {version()}")
    name, *rest = words
    if name in COMMANDS:
        # What python -m does: the door runs as the program, and processes that it starts find it.
        sys.argv = [name, *rest]
        runpy.run_module(f"engine.{name}", run_name="__main__", alter_sys=True)
        return 0
    if name != "completion":
        known = [*COMMANDS, "completion"]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        return refused(f"{name} is no command{f'; did you mean {near[0]}?' if near else ';'} known: {', '.join(known)}")

    from engine.cli.completion import script
    from engine.common.errors import EngineError

    try:
        return say(script(rest, summaries()))
    except EngineError as error:
        return refused(str(error))


def say(text: str) -> int:
    """Print; status 0, also where whoever reads has read enough."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What is left goes nowhere, or Python would try it again as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def version() -> str:
    """The installed version."""
    from importlib import metadata

    try:
        return metadata.version("cadence-train")
    except metadata.PackageNotFoundError:
        return "from a checkout that is not installed"


def refused(line: str) -> int:
    """Say what is wrong, in a line; the exit status of a user's mistake."""
    print(f"error: {line}", file=sys.stderr)
    return 2


def story() -> str:
    """The help: what one does with a run, from its data to its use, with the commands."""
    width = max(len(words) for _, lines in STORY for words, _ in lines)
    parts = ["usage: cadence COMMAND ...\n\nTrains image classifiers on CIFAR-sized data. A run, from its beginning:"]
    for title, lines in STORY:
        parts.append("\n".join([f"\n{title}", *(f"  cadence {words:<{width}}  {says}" for words, says in lines)]))
    parts.append("\ncadence COMMAND --help shows all that a command takes; it is python -m engine.COMMAND.\n"
                 "cadence --version says which version this is.\n"
                 "Tab completion: eval \"$(cadence completion bash)\", or zsh; cadence completion fish | source")
    return "\n".join(parts)


def summaries() -> dict[str, str]:
    """Each command with what it is for, in a line: what the story first says of it."""
    found: dict[str, str] = {}
    for _, lines in STORY:
        for words, says in lines:
            found.setdefault(words.split()[0], says)
    return found


if __name__ == "__main__":
    sys.exit(main())
