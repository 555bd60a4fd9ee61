import json
from dataclasses import replace

import pytest

from loaders.beton import manifest
from loaders.beton.manifest import Beton


@pytest.fixture
def beton(tmp_path):
    beton = Beton(tmp_path / "a.beton", "made", "train", 3, 2, 5, ("cat", "Hündin"), (2, 1), (0.1, 0.2, 1 / 3),
                  (0.5, 0.25, 1e-17), 99, "a" * 64, "b" * 64, "c" * 64)
    manifest.path_of(beton.path).write_text(manifest.dumps(beton))
    return beton


def test_a_written_manifest_is_read_back(beton):
    assert manifest.path_of(beton.path).name == "a.json"
    assert manifest.read(beton.path) == beton


def test_every_flipped_bit_is_caught_or_means_the_same(beton):
    path = manifest.path_of(beton.path)
    whole, caught = path.read_bytes(), 0
    for at in range(len(whole)):
        content = bytearray(whole)
        content[at] ^= 1 << at % 8
        path.write_bytes(content)
        try:
            # A blank may turn into another blank, and an escaped letter's digit into a capital.
            assert manifest.read(beton.path) == beton
        except ValueError:
            caught += 1
    assert caught > 0.9 * len(whole)


def test_every_cut_is_caught(beton):
    path = manifest.path_of(beton.path)
    whole = path.read_bytes()
    for kept in [*range(0, len(whole), 13), len(whole) - 2]:
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match="manifest"):
            manifest.read(beton.path)


def signed(entries):
    return json.dumps(entries | {"checksum": manifest._checksum(entries)})


@pytest.mark.parametrize(("change", "part"), [
    ({"samples": "3"}, "samples is not of type int"), ({"samples": True}, "samples is not of type int"),
    ({"height": 2.0}, "height is not of type int"), ({"channel_mean": [0, 1, 2]}, "channel_mean is not a list of"),
    ({"source": 5}, "source is not of type str"), ({"class_names": "ab"}, "class_names is not a list"),
    ({"class_names": ["a", 1]}, "class_names is not a list of str"),
    ({"channel_std": [0.5]}, "describes no images"), ({"samples": 0}, "describes no images"),
    ({"width": -1}, "describes no images"), ({"class_counts": [3]}, "do not add up"),
    ({"class_counts": [2, 2]}, "do not add up"), ({"more": 1}, "expected entries")])
def test_a_signed_manifest_with_wrong_entries_is_refused(beton, change, part):
    entries = json.loads(manifest.dumps(beton))
    entries.pop("checksum")
    manifest.path_of(beton.path).write_text(signed(entries | change))
    with pytest.raises(ValueError, match=part):
        manifest.read(beton.path)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "[" * 100_000, "\udcff", '{"checksum": NaN}'])
def test_a_file_that_is_not_a_manifest_is_refused(beton, text):
    manifest.path_of(beton.path).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="manifest"):
        manifest.read(beton.path)


def test_an_endless_manifest_is_not_read_whole(beton, monkeypatch):
    monkeypatch.setattr(manifest, "_MAX_BYTES", 50)
    with pytest.raises(ValueError, match="manifest"):
        manifest.read(beton.path)


def test_only_the_path_is_left_out(beton):
    entries = json.loads(manifest.dumps(replace(beton, path=beton.path.with_name("b.beton"))))
    assert "path" not in entries and entries["channel_mean"] == [0.1, 0.2, 1 / 3]
