"""Tab completion of `cadence`: shtab's script for the commands' options, the recipes' names and every setting.

It reads the options from the commands' source: no command is imported, and no list is maintained by hand.
"""

import argparse
import ast
import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from engine.cli.overview import SUMMARIES
from engine.common.errors import EngineError
from engine.common.optional import import_extra
from engine.storage.export_formats import FILES
from recipes.settings import load
from recipes.settings.checkers import Truth
from recipes.settings.schema import declare

# bash splits --name=value into three words at "="; shtab's function knows --name value.
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
# zsh's _arguments takes --name value, and also --name=value if the name is declared with "=".
ZSH_VALUE = re.compile(r'^( +"--[\w.-]+)(\[.*\]:)', re.MULTILINE)
SHELLS = ("bash", "zsh", "fish")
# The literal parts of an option's declaration that a shell needs.
LITERALS = ("action", "nargs", "choices", "metavar", "help")


def script(words: Sequence[str]) -> str:
    """The completion of `cadence` for the one shell in `words`; EngineError for another, or if shtab is missing."""
    if len(words) != 1 or words[0] not in SHELLS:
        raise EngineError(f"completion takes one shell ({', '.join(SHELLS)}), not {' '.join(words) or 'none'}")
    shtab = import_extra("shtab", "completion", "completion")
    parser = argparse.ArgumentParser("cadence", description="trains image classifiers on CIFAR-sized data")
    commands = parser.add_subparsers()
    for name, about in SUMMARIES.items():
        source = ast.parse((Path(__file__).parents[1] / f"{name}.py").read_text("utf-8"))
        command = commands.add_parser(name, help=about, description=about)
        for names, facts in options_of(source).items():
            metavar = facts.get("metavar", "")
            option = command.add_argument(*names, **facts)
            if metavar in ("DIR", "RUN"):
                option.complete = shtab.DIRECTORY
            elif any(word in metavar for word in ("FILE", "PATH", "CHECKPOINT", "IMAGE", "RUN")):
                option.complete = shtab.FILE
        if takes_settings(source):
            for path, setting in declare().entries.items():
                checker = setting.checker
                choices = ("true", "false") if isinstance(checker, Truth) else getattr(checker, "names", None)
                option = command.add_argument(f"--{'.'.join(path)}", choices=choices, metavar="VALUE",
                                              help=setting.desc.replace("%", "%%"))
                if setting.unit.startswith("path"):
                    option.complete = shtab.FILE
    commands.add_parser("completion", help="print the tab completion of a shell").add_argument("shell", choices=SHELLS)
    text = shtab.complete(parser, words[0])
    return {"bash": text + "\n" + BASH_EQUALS, "zsh": ZSH_VALUE.sub(r"\1=\2", text), "fish": text}[words[0]]


def options_of(source: ast.Module) -> dict[tuple[str, ...], dict]:
    """The options and positional words that a command declares: the names of each `add_argument` with its LITERALS."""
    found, choices = {}, {"--recipe": load.names(), "--format": tuple(FILES)}
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            names, facts = tuple(map(ast.literal_eval, node.args)), {}
            for word in node.keywords:
                if word.arg in LITERALS:
                    with contextlib.suppress(ValueError):
                        facts[word.arg] = ast.literal_eval(word.value)
            if names[0] in choices:
                facts["choices"] = choices[names[0]]
            found[names] = facts
    return found


def takes_settings(source: ast.Module) -> bool:
    """Whether one of a command's parsers also takes --section.name=VALUE."""
    parsers = [node for node in ast.walk(source) if isinstance(node, ast.Call)
               and getattr(node.func, "attr", getattr(node.func, "id", "")) == "Parser"]
    return not all(any(word.arg == "settings" for word in parser.keywords) for parser in parsers)
