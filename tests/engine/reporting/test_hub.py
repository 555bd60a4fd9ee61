"""What a shared report says of the machine that trained."""

from pathlib import Path

import pytest

from engine.storage.run_record import Record

pytest.importorskip("huggingface_hub")


def record_of(**changes):
    values = {"folder": Path("run"), "settings": {"data.root": "/home/me/pets/"}, "command": "", "env": {},
              "history": [], "summary": {}, "missing": ()}
    return Record(**{**values, **changes})


def test_the_folders_of_splits_are_named_without_the_place_where_they_are():
    from engine.reporting.hub import public_folders

    folders = {"train": "/home/me/pets/train", "validation": "/home/me/pets/Val"}
    assert public_folders(record_of(env={"folders": folders})) == {"folders": {"train": "DIR/train",
                                                                               "validation": "DIR/Val"}}
    whole = {"train": "/home/me/pets", "test": "/home/me/pets/test"}
    assert public_folders(record_of(env={"folders": whole})) == {"folders": {"train": "DIR", "test": "DIR/test"}}
    assert public_folders(record_of()) == {}
