"""Tab completion of `cadence`: shtab's script for the doors' options, the recipes' names and every setting.

The options are read off the doors' source, so that no door has to be imported and no list kept by hand.
"""

import argparse
import ast
import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.common.errors import EngineError
from engine.storage.export_formats import FILES
from recipes.settings import load
from recipes.settings.checkers import Choice, Truth
from recipes.settings.schema import declare
from recipes.settings.setting import Setting

# bash hands over --name=value as three words, of which the middle one is "="; shtab's function knows --name value.
BASH_EQUALS = """
_cadence() {
  local -a words=()
  local at index=0
  for at in "${!COMP_WORDS[@]}"; do
    if [[ "${COMP_WORDS[at]}" != "=" ]]; then
      words+=("${COMP_WORDS[at]}")
    elif (( at == COMP_CWORD )); then
      words+=("")
    fi
    if (( at == COMP_CWORD )); then index=$(( ${#words[@]} - 1 )); fi
  done
  local -a COMP_WORDS=("${words[@]}")
  local COMP_CWORD=$index
  _shtab_cadence
}
complete -o bashdefault -F _cadence cadence"""
# zsh's _arguments takes --name value, and --name=value too where the name is declared with "=".
ZSH_VALUE = re.compile(r'^( +"--[\w.-]+)(\[.*\]:)', re.MULTILINE)


SHELLS = ("bash", "zsh", "fish")
# What of an option's declaration a shell needs; the rest, such as its type, may be no literal.
LITERALS = ("action", "nargs", "choices", "metavar", "help")


def script(words: Sequence[str], summaries: Mapping[str, str]) -> str:
    """The completion of `cadence` for the one shell that `words` holds; `summaries`: each command with a line about it.

    Raises EngineError for anything but one of SHELLS, and where shtab is missing.
    """
    if len(words) != 1 or words[0] not in SHELLS:
        raise EngineError(f"completion takes one shell ({', '.join(SHELLS)}), not {' '.join(words) or 'none'}")
    shell = words[0]
    try:
        import shtab
    except ImportError:
        raise EngineError("completion needs the shtab package: pip install 'cadence-train[completion]'") from None
    parser = argparse.ArgumentParser("cadence", description="trains image classifiers on CIFAR-sized data")
    commands = parser.add_subparsers()
    for name, about in summaries.items():
        source = ast.parse((Path(__file__).parents[1] / f"{name}.py").read_text("utf-8"))
        command = commands.add_parser(name, help=about, description=about)
        for names, facts in options_of(source).items():
            add_option(command, names, facts)
        if takes_settings(source):
            for path, setting in declare().entries.items():
                add_setting(command, ".".join(path), setting)
    commands.add_parser("completion", help="what this is").add_argument("shell", choices=SHELLS)
    text = shtab.complete(parser, shell)
    if shell == "bash":
        return text + "\n" + BASH_EQUALS
    return ZSH_VALUE.sub(r"\1=\2", text) if shell == "zsh" else text


def options_of(source: ast.Module) -> dict[tuple[str, ...], dict]:
    """The options and words that a door declares: the names of each `add_argument` with its literal LITERALS."""
    found: dict[tuple[str, ...], dict] = {}
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            facts = {}
            for word in node.keywords:
                with contextlib.suppress(ValueError):
                    facts[word.arg] = ast.literal_eval(word.value)
            found[tuple(map(ast.literal_eval, node.args))] = {key: facts[key] for key in LITERALS if key in facts}
    return found


def takes_settings(source: ast.Module) -> bool:
    """Whether one of a door's parsers takes --section.name=VALUE too."""
    parsers = [node for node in ast.walk(source) if isinstance(node, ast.Call)
               and getattr(node.func, "attr", getattr(node.func, "id", "")) == "Parser"]
    return not all(any(word.arg == "settings" for word in parser.keywords) for parser in parsers)


def add_option(command: argparse.ArgumentParser, names: tuple[str, ...], facts: dict) -> None:
    """Declare a door's option or word, and what its value may be: a name, a file, a folder."""
    import shtab

    if names == ("--recipe",):
        facts = {**facts, "choices": load.names()}
    if names == ("--format",):
        facts = {**facts, "choices": tuple(FILES)}
    option, metavar = command.add_argument(*names, **facts), facts.get("metavar", "")
    if metavar in ("DIR", "RUN"):
        option.complete = shtab.DIRECTORY
    elif any(word in metavar for word in ("FILE", "PATH", "CHECKPOINT", "IMAGE", "RUN")):
        option.complete = shtab.FILE


def add_setting(command: argparse.ArgumentParser, path: str, setting: Setting) -> None:
    """Declare a recipe's setting, and what its value may be: one of a few names, a file."""
    import shtab

    checker = setting.checker
    choices = tuple(checker.names) if isinstance(checker, Choice) else ("true", "false") if isinstance(checker, Truth) \
        else None
    option = command.add_argument(f"--{path}", choices=choices, metavar="VALUE", help=setting.desc.replace("%", "%%"))
    if setting.unit.startswith("path"):
        option.complete = shtab.FILE
