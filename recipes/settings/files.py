"""Settings from an untrusted YAML or JSON file: plain values only, each key once, bounded in size."""

import json
from pathlib import Path

from recipes.settings.checkers import unique
from recipes.settings.messages import RecipeError

LARGEST_FILE_BYTES = 1_000_000
MOST_DIGITS = 400


def read_file(path: str) -> dict[str, object]:
    """A file's settings, nested ({train: {epochs: 3}}) or flat ("train.epochs": 3), as flat paths; or RecipeError."""
    import yaml

    source = Path(path)
    try:
        with source.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise RecipeError(f"config file {path} cannot be read ({error.strerror}): give a .yaml or .json file") from None
    except UnicodeDecodeError:
        raise RecipeError(f"config file {path} is not UTF-8 text: give a .yaml or .json file") from None
    if len(content) > LARGEST_FILE_BYTES:
        raise RecipeError(f"config file {path} is larger than {LARGEST_FILE_BYTES:,} bytes: it is not a recipe")
    try:
        tree = json.loads(text, object_pairs_hook=unique) if source.suffix == ".json" else _yaml(text)
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RecipeError(f"config file {path} is not valid {source.suffix.lstrip('.') or 'YAML'}: {reason}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise RecipeError(f"config file {path} holds a {type(tree).__name__}; it must map sections to settings")
    flat: dict[str, object] = {}
    for head, value in tree.items():
        if isinstance(value, dict) and "." not in str(head):
            flat.update({f"{head}.{tail}": leaf for tail, leaf in value.items()})
        else:
            flat[str(head)] = value
    return flat


def _yaml(text: str) -> object:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML without aliases (a few lines could expand to billions of values), repeated keys or long numbers."""

        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                raise ValueError(f"*{self.peek_event().anchor} is an alias, and settings are plain values")
            return super().compose_node(parent, index)

        def number(self, node):
            if len(node.value) > MOST_DIGITS:
                raise ValueError(f"{node.value[:20]}... is too long for a number")
            return self.construct_yaml_int(node)

        def mapping(self, node):
            return unique([(self.construct_object(key, deep=True), self.construct_object(value, deep=True))
                           for key, value in node.value])

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.number)
    Loader.add_constructor("tag:yaml.org,2002:map", Loader.mapping)
    return yaml.load(text, Loader)
