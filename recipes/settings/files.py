"""Settings from an untrusted YAML, JSON or TOML file: plain values only, each key once, bounded in size."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from recipes.settings.checkers import unique
from recipes.settings.messages import RecipeError

LARGEST_FILE_BYTES = 1_000_000
MOST_DIGITS = 400
# tomllib's time grows with the square of a key's parts; a setting has two.
TOML_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*"""
LONG_TOML_KEY = re.compile(rf"(?<![\w-]){TOML_PART}(?:\.[ \t]*{TOML_PART}){{50}}")
# The plain scalars that are not text: type, form, first letters.
PLAIN_YAML = (
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", "true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", "[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?|\.[0-9]+(?:[eE][-+][0-9]+)?|"
              r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.0123456789")),
)


def read_file(path: str) -> dict[str, object]:
    """A file's settings, nested ({train: {epochs: 3}}) or flat ("train.epochs": 3), as flat paths; or RecipeError.

    The suffix decides the format: .json, .toml, and YAML for any other.
    """
    import yaml

    source = Path(path)
    read, form = {".json": (_json, "JSON"), ".toml": (_toml, "TOML")}.get(source.suffix.lower(), (_yaml, "YAML"))
    try:
        with source.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
        # Some editors begin a file with a mark.
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(f"config file {path} cannot be read ({error.strerror}): give a .yaml, .json or .toml "
                          "file") from None
    except UnicodeDecodeError:
        raise RecipeError(f"config file {path} is not UTF-8 text: give a .yaml, .json or .toml file") from None
    if len(content) > LARGEST_FILE_BYTES:
        raise RecipeError(f"config file {path} is larger than {LARGEST_FILE_BYTES:,} bytes: it is not a recipe")
    try:
        tree = read(text)
    except ImportError:
        raise RecipeError(f"config file {path}: TOML is read from Python 3.11 on: write it as .yaml or .json") from None
    except (ValueError, TypeError, RecursionError, OverflowError, yaml.YAMLError) as error:
        raise RecipeError(f"config file {path} is not valid {form}: {_reason(error)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise RecipeError(f"config file {path} holds a {type(tree).__name__}; it must map sections to settings")
    try:
        return unique(_flat(tree))
    except ValueError as error:
        raise RecipeError(f"config file {path}: {error}") from None


def _flat(tree: dict) -> Iterator[tuple[str, object]]:
    """The settings as paths with their values, in the file's order."""
    for head, value in tree.items():
        if isinstance(value, dict) and "." not in str(head):
            yield from ((f"{head}.{tail}", leaf) for tail, leaf in value.items())
        else:
            yield str(head), value


def _json(text: str) -> object:
    return json.loads(text, object_pairs_hook=unique)


def _toml(text: str) -> object:
    import tomllib

    if long := LONG_TOML_KEY.search(text):
        raise ValueError(f"{long[0][:20]}... has too many dots for a name")
    return tomllib.loads(text)


def _yaml(text: str) -> object:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML without aliases (a few lines could expand to billions of values), repeated keys or long numbers.

        Only what YAML 1.1 and 1.2 read alike is a number, true, false or null; 1:24, 010, off and 2026-01-01 are text,
        and a setting's checker reads text as on the command line.
        """

        yaml_implicit_resolvers: dict = {}

        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                raise ValueError(f"*{self.peek_event().anchor} is an alias, and settings are plain values")
            return super().compose_node(parent, index)

        def number(self, node):
            if len(node.value) > MOST_DIGITS:
                raise ValueError(f"{node.value[:20]}... is too long for a number")
            if node.tag.endswith("int"):
                return int(node.value, 16 if node.value.startswith("0x") else 10)
            return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))

        def mapping(self, node):
            return unique([(self.construct_object(key, deep=True), self.construct_object(value, deep=True))
                           for key, value in node.value])

    for name, form, first in PLAIN_YAML:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{form})\Z"), first)
    for name in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{name}", Loader.number)
    Loader.add_constructor("tag:yaml.org,2002:map", Loader.mapping)
    return yaml.load(text, Loader)


def _reason(error: Exception) -> str:
    """What is wrong with a file, in one line, with its place if the parser tells it."""
    mark = getattr(error, "problem_mark", None)
    text = f"{error.problem} (at line {mark.line + 1}, column {mark.column + 1})" if mark else str(error)
    return " ".join(text.split())[:200]
