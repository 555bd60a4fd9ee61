"""The loaders benchmark at toy size: every peer has its row, ratios are to FFCV's own, the picture is drawn."""

import json

import pytest

from benchmarks import loaders
from engine.common.errors import EngineError

pytestmark = pytest.mark.slow("FFCV's pipelines and the host kernels are compiled")

TINY = ["--data.name=shapes", "--data.train_count=400", "--data.test_count=100", "--seconds=0.001", "--repeats=1",
        "--batches=100", "--threads=1"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return f"--data.cache={tmp_path_factory.mktemp('cache')}"


def test_every_peer_has_its_row(cache, tmp_path):
    file = tmp_path / "rows.json"
    assert loaders.main([*TINY, cache, "--json", str(file)]) == 0
    rows = {row["peer"]: row for row in json.loads(file.read_text())}
    assert {"memcpy", "ffcv decode only", "ffcv stock ops", "ffcv stock ops + normalise", "cadence fused",
            "cadence fused + normalise", "cadence resident", "cadence kernel alone",
            "torchvision v2, 0 workers"} <= set(rows)
    for row in rows.values():
        rate = row["images_per_second"]
        assert 0 < rate["min"] <= rate["median"] <= rate["max"] and (row["threads"], row["batch"]) == (1, 100)
        stock = rows["ffcv stock ops" if row["output"] == "uint8" else "ffcv stock ops + normalise"]
        expected = rate["median"] / stock["images_per_second"]["median"]
        assert row["ratio_to_ffcv_stock"] == pytest.approx(expected, abs=0.006 + 1e-3 * expected)
    assert file.with_suffix(".png").stat().st_size > 1000


def test_one_operation_is_timed_against_decoding(cache, tmp_path):
    file = tmp_path / "op.json"
    loaders.main([*TINY, cache, "--op=jitter", "--policy=cnn4", "--json", str(file)])
    names = [row["peer"] for row in json.loads(file.read_text())]
    assert names == ["decode", "jitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)"]
    with pytest.raises(EngineError, match=r"--op=blur is not in the policy; it has crop, flip, jitter, erase"):
        loaders.main([*TINY, cache, "--op=blur", "--policy=cnn4"])
