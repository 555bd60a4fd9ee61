"""The description of a beton, and the JSON file beside it that holds it."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Beton:
    """A file of raw RGB images with labels, as its manifest describes it.

    height, width: in pixels. class_counts: images per class. channel_mean, channel_std: red, green, blue over all
    pixels of the split, in 0..1. sha256: of the file. key: hash of source, split and format; fingerprint: the source's.
    """

    path: Path
    source: str
    split: str
    samples: int
    height: int
    width: int
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    channel_mean: tuple[float, float, float]
    channel_std: tuple[float, float, float]
    file_bytes: int
    sha256: str
    key: str
    fingerprint: str


# The type of each entry, or of the items if it is a list.
_ITEMS = {"class_names": str, "class_counts": int, "channel_mean": float, "channel_std": float}
_PLAIN = {field.name: field.type for field in fields(Beton) if field.name not in {"path", *_ITEMS}}
_MAX_BYTES = 1 << 24


def path_of(beton_path: Path) -> Path:
    return beton_path.with_suffix(".json")


def dumps(beton: Beton) -> str:
    """The manifest's text: everything but the path, with a checksum, which catches flipped bits."""
    entries = {name: value for name, value in asdict(beton).items() if name != "path"}
    return json.dumps({**entries, "checksum": _checksum(entries)}, indent=1) + "\n"


def read(beton_path: Path) -> Beton:
    """The manifest beside beton_path. Raises OSError, or ValueError that names the fault."""
    with path_of(beton_path).open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    try:
        entries = json.loads(content) if len(content) <= _MAX_BYTES else None
    except (ValueError, RecursionError) as error:
        raise ValueError("its manifest is not JSON") from error
    if not isinstance(entries, dict) or set(entries) != {*_PLAIN, *_ITEMS, "checksum"}:
        raise ValueError("its manifest does not have the expected entries")
    if entries.pop("checksum") != _checksum(entries):
        raise ValueError("its manifest does not match its own checksum")
    for name, kind in _PLAIN.items():
        if type(entries[name]) is not kind:
            raise ValueError(f"its manifest's {name} is not of type {kind.__name__}")
    for name, kind in _ITEMS.items():
        if not isinstance(entries[name], list) or any(type(item) is not kind for item in entries[name]):
            raise ValueError(f"its manifest's {name} is not a list of {kind.__name__}")
        entries[name] = tuple(entries[name])
    beton = Beton(path=beton_path, **entries)
    if min(beton.samples, beton.height, beton.width) < 1 or len(beton.channel_mean) != 3 or len(beton.channel_std) != 3:
        raise ValueError("its manifest describes no images")
    if len(beton.class_counts) != len(beton.class_names) or sum(beton.class_counts) != beton.samples:
        raise ValueError("its manifest's class counts do not add up")
    return beton


def _checksum(entries: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
