"""What files say of themselves, through text and back."""

import pytest

from engine.common.errors import EngineError
from engine.exporting import metadata

TOLD = metadata.describe(metadata.PIXELS_IN, recipe="cnn", dataset="cifar10", model="cnn", policy="flip()",
                         class_names=("dog", "cat"), side_px=32, mean=(0.5, 0.25, 0.1), std=(0.2, 0.2, 1 / 3), epoch=3,
                         settings={"train.sizes": {"0": 16}, "model.name": "cnn"}, pruned=None)


def test_metadata_come_back_from_text_as_they_were():
    assert tuple(sorted(TOLD)) == tuple(sorted(metadata.KEYS))
    texts = metadata.as_texts(TOLD)
    assert all(isinstance(text, str) for text in texts.values())
    assert metadata.from_texts({**texts, "more": "of another program"}, "a.onnx") == TOLD


def test_a_file_of_another_program_is_refused_by_name():
    with pytest.raises(EngineError, match="a.onnx was not exported by Cadence, its metadata has no made_by"):
        metadata.from_texts({}, "a.onnx")
    with pytest.raises(EngineError, match="a.onnx: its metadata is damaged"):
        metadata.from_texts({**metadata.as_texts(TOLD), "mean": "[0.5,"}, "a.onnx")
