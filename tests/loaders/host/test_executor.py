"""The host executor: every operation equals plain Python pixel by pixel, and nothing else affects a pixel."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.common.counter_rng import epoch_state
from loaders.common.errors import DataError
from loaders.host import batch, executor
from loaders.policy.named_policies import POLICIES
from loaders.policy.policy import parse
from tests.loaders.images import CIFAR_SIZED, EACH, MEAN_RGB, SMALL, images, in_python, on_host

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("text", EACH)
def test_each_operation_equals_plain_python(text):
    got = on_host(text, SMALL, range(len(SMALL)))
    for k, image in enumerate(got):
        np.testing.assert_array_equal(image, in_python(text, SMALL, k), err_msg=f"{text}, sample {k}")


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow("plain Python at 224 px")) if name == "resnet50" else name
    for name in POLICIES])
def test_named_policies_equal_plain_python(name):
    indices = [15] if name == "resnet50" else range(16)
    for k, image in zip(indices, on_host(name, CIFAR_SIZED, indices), strict=True):
        np.testing.assert_array_equal(image, in_python(name, CIFAR_SIZED, k))


SHAPES = st.tuples(st.integers(4, 41), st.integers(4, 41))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SHAPES, st.sampled_from(EACH[1:]), st.integers(0, 2**63 - 1), st.integers(0, 1000))
def test_any_shape_and_seed_equals_plain_python(shape, text, seed, epoch):
    batch_nhwc = images(4, *shape, seed=seed % 1000)
    try:
        got = on_host(text, batch_nhwc, range(4), seed, epoch)
    except DataError:
        return  # an operation too large for this size
    for k in range(4):
        np.testing.assert_array_equal(got[k], in_python(text, batch_nhwc, k, seed, epoch))


EVERYTHING = "trivial_wide(), crop(pad_px=3), jitter(hue=.1, contrast=.3), noise(sigma=.1), erase(), flip()"


@pytest.mark.parametrize("text", [EVERYTHING, "airbench", "resize(px=48), perspective(), erase(fill=noise)"])
def test_threads_and_batches_change_nothing(text):
    whole = on_host(text, CIFAR_SIZED, range(16))
    assert np.array_equal(on_host(text, CIFAR_SIZED, range(16), threads=2), whole)
    shuffled = np.random.default_rng(0).permutation(16)
    assert np.array_equal(on_host(text, CIFAR_SIZED, shuffled, threads=2), whole[shuffled])
    for k in range(16):
        assert np.array_equal(on_host(text, CIFAR_SIZED, [k])[0], whole[k])


def test_seed_epoch_and_policy_change_the_pixels():
    base = on_host(EVERYTHING, CIFAR_SIZED, range(16))
    for other in (on_host(EVERYTHING, CIFAR_SIZED, range(16), seed=4), on_host(EVERYTHING, CIFAR_SIZED, range(16),
                  epoch=8), on_host(EVERYTHING + ", flip(p=.1)", CIFAR_SIZED, range(16))):
        assert 0 < sum(not np.array_equal(a, b) for a, b in zip(base, other, strict=True))


def test_alternating_flip_shows_both_sides_in_two_epochs():
    even, odd = (on_host("flip_alternate()", CIFAR_SIZED, range(16), epoch=epoch) for epoch in (0, 1))
    assert np.array_equal(even, odd[:, :, ::-1])
    mirrored = [not np.array_equal(a, b) for a, b in zip(even, CIFAR_SIZED, strict=True)]
    assert any(mirrored) and not all(mirrored)


def test_writes_stay_inside_the_destination_and_reads_inside_the_source():
    """A guard around the batch keeps its bytes; an image that ends with its array equals one in the middle."""
    policy = executor.PackedPolicy(parse("crop(pad_px=4), flip(), erase()"), MEAN_RGB)
    pointers = (np.arange(16) * 3072).astype(np.uint64)
    padded = np.concatenate([CIFAR_SIZED.reshape(-1), np.full(64, 99, np.uint8)])
    results = []
    for source in (CIFAR_SIZED.reshape(-1).copy(), padded):
        arena = np.full(3072 * 16 + 128, 77, np.uint8)
        batch_nhwc = arena[64:-64].reshape(16, 32, 32, 3)
        executor.augment(source, pointers, np.arange(16), policy, epoch_state(0, 0), batch_nhwc)
        assert (arena[:64] == 77).all() and (arena[-64:] == 77).all()
        results.append(batch_nhwc.copy())
    assert np.array_equal(*results)


def test_mapped_files_are_read_without_compiling_again(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(b"head!" + CIFAR_SIZED.tobytes() + b"t")
    mapped = np.memmap(path, np.uint8, mode="r")
    policy = executor.PackedPolicy(parse("baseline"), MEAN_RGB)
    out = np.empty((16, 32, 32, 3), np.uint8)
    pointers = (5 + np.arange(16) * 3072).astype(np.uint64)
    executor.augment(mapped, pointers, np.arange(16), policy, epoch_state(3, 7), out)
    assert np.array_equal(out, on_host("baseline", CIFAR_SIZED, range(16)))
    assert len(batch.run_serial.signatures) == 1


@pytest.mark.parametrize(("threads", "kernel"), [(1, batch.run_serial), (2, batch.run_parallel)])
def test_what_is_compiled_before_the_first_batch_is_what_it_runs(threads, kernel):
    executor.compile_kernel(threads)
    on_host("cnn4", CIFAR_SIZED, range(4), threads=threads)
    assert len(kernel.signatures) == 1


@pytest.mark.slow("starts a process")
def test_a_second_process_takes_the_kernel_from_disk():
    on_host("baseline", CIFAR_SIZED, range(2))
    code = ("import numpy as np; from tests.loaders.images import images, on_host; from loaders.host import batch; "
            "on_host('cnn4', images(4, 9, 9), range(4)); on_host('resnet34', images(4, 32, 32), [0]); "
            "assert sum(batch.run_serial.stats.cache_hits.values()) == 1, batch.run_serial.stats; "
            "assert not batch.run_serial.stats.cache_misses")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_cache_is_keyed_by_every_kernel_source():
    """Editing a kernel must change the key under which the entry points are stored."""
    assert batch.run_serial.py_func.__closure__[0].cell_contents == batch._fingerprint()


def test_kernels_compile_without_a_cache_folder():
    scope = {}
    exec("def double(x):\n    return 2 * x", scope)  # a function without a file: numba finds no place for its cache
    assert batch._kept_on_disk(scope["double"])(21) == 42


def test_an_empty_batch_is_empty():
    assert on_host("baseline", CIFAR_SIZED, []).shape == (0, 32, 32, 3)


POLICY = executor.PackedPolicy(parse("baseline"), MEAN_RGB)
FLAT = CIFAR_SIZED.reshape(-1)
POINTERS = (np.arange(16) * 3072).astype(np.uint64)
GOOD = {"source_u8": FLAT, "pointers": POINTERS, "indices": np.arange(2), "policy": POLICY,
        "state": epoch_state(0, 0), "destination": np.empty((2, 32, 32, 3), np.uint8), "threads": 1}


@pytest.mark.parametrize("change, words", [
    ({"destination": np.empty((2, 32, 32, 3), np.int32)}, "it must be uint8"),
    ({"destination": np.empty((3, 32, 32, 3), np.uint8)}, "must be uint8, C-contiguous and (2, 32, 32, 3)"),
    ({"destination": np.empty((2, 32, 3, 32), np.uint8).transpose(0, 1, 3, 2)}, "must be uint8, C-contiguous"),
    ({"indices": np.array([0, 16])}, "indices from 0 to 16: they must be from 0 to 15"),
    ({"indices": np.array([-1, 2])}, "they must be from 0 to 15"),
    ({"indices": np.array([0, 1], np.int32)}, "indices of type int32"),
    ({"pointers": POINTERS.astype(np.int64)}, "pointers of type int64"),
    ({"source_u8": CIFAR_SIZED}, "source of type uint8 and shape (16, 32, 32, 3)"),
    ({"state": np.array([1, 2, 3])}, "state of type int64"),
    ({"source_u8": FLAT[:4000]}, "an image starts at byte 3072 and takes 3072, but the source ends at 4000"),
    ({"threads": 0}, "threads=0: at least 1 is needed"),
])
def test_wrong_arguments_are_refused_before_any_byte_is_read(change, words):
    with pytest.raises(DataError) as caught:
        executor.augment(**{**GOOD, **change})
    assert words in str(caught.value)


def test_colours_are_checked():
    for colours in ((0, 0, 256), (0, 0), (-1, 0, 0)):
        with pytest.raises(DataError, match="it must be three integers from 0 to 255"):
            executor.PackedPolicy(parse("baseline"), colours)


def test_the_unsafe_thread_layer_is_refused(monkeypatch):
    monkeypatch.setattr(executor.numba, "threading_layer", lambda: "workqueue")
    with pytest.raises(DataError, match="not thread-safe; install tbb"):
        executor._require_safe_layer(2)


def test_a_missing_thread_layer_is_one_line(monkeypatch):
    def fails(*arguments):
        raise ValueError("No threading layer could be loaded.\nHINT: more")

    monkeypatch.setattr(batch, "run_parallel", fails)
    before = executor.numba.get_num_threads()
    with pytest.raises(DataError, match="^threads=2: No threading layer could be loaded. Install tbb, or set .*=1$"):
        on_host("baseline", CIFAR_SIZED, range(16), threads=2)
    assert executor.numba.get_num_threads() == before


def test_the_thread_count_of_the_process_is_restored():
    before = executor.numba.get_num_threads()
    on_host("baseline", CIFAR_SIZED, range(16), threads=2)
    assert executor.numba.get_num_threads() == before
