"""Metadata of exported files, to text and back."""

import pytest

from engine.common.errors import EngineError
from engine.exporting import metadata
from engine.inference.trained import open_trained
from tests.engine.colours import colours_run
from tests.engine.exporting.networks import METADATA


def test_a_description_has_every_key_and_comes_back_from_text_unchanged(tmp_path):
    trained = open_trained(str(colours_run(tmp_path / "run", **{"augment.policy": "flip()"})), device="cpu")
    described = metadata.describe(trained, metadata.PIXELS_IN, None)
    assert described.keys() == set(metadata.KEYS) and described["policy"] == "flip()"
    assert metadata.from_texts(metadata.as_texts(described), "a.onnx") == described


def test_metadata_come_back_from_text_unchanged():
    texts = metadata.as_texts(METADATA)
    assert all(isinstance(text, str) for text in texts.values())
    assert metadata.from_texts({**texts, "more": "of another program"}, "a.onnx") == METADATA


def test_a_file_of_another_program_is_refused_by_name():
    with pytest.raises(EngineError, match=r"a.onnx was not exported by Cadence \(its metadata has no made_by\)"):
        metadata.from_texts({}, "a.onnx")
    with pytest.raises(EngineError, match="a.onnx: its metadata is damaged"):
        metadata.from_texts({**metadata.as_texts(METADATA), "mean": "[0.5,"}, "a.onnx")
