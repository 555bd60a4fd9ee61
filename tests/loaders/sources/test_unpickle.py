import os
import pickle
import subprocess
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.common.errors import DataError
from loaders.sources import unpickle
from loaders.sources.unpickle import loads

BATCH = {"data": np.arange(48, dtype=np.uint8).reshape(2, 24), "labels": [1, 300, -70_000, 2**40, True],
         "filenames": [b"a.png", "b.png"], "nested": ({"k": [1.5, None]}, ()),
         "wide": np.array([[1, 2], [3, 4]], ">i4")}

# What Python 2 wrote: byte strings as str, numpy under its old name.
PYTHON_2 = (b"\x80\x02}q\x00(U\x06labelsq\x01]q\x02(K\x01K\x02eU\x04dataq\x03cnumpy.core.multiarray\n_reconstruct\n"
            b"q\x04cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87Rq\x06(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01"
            b"\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x00\x7f\x80\xfe\xff\x0atbu.")


def text(value):
    return value.decode("latin-1") if isinstance(value, bytes) else value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("spelling", ["numpy.core", "numpy._core"])
def test_plain_data_of_every_protocol(protocol, spelling):
    content = pickle.dumps(BATCH, protocol=protocol)
    old, new = b"numpy._core", spelling.encode()
    if protocol < 4:
        content = content.replace(old, new)
    found = loads(content, "x")
    assert np.array_equal(found["data"], BATCH["data"]) and found["data"].dtype == np.uint8
    assert np.array_equal(found["wide"], BATCH["wide"])
    assert found["labels"] == BATCH["labels"] and found["nested"] == BATCH["nested"]
    assert [text(name) for name in found["filenames"]] == ["a.png", "b.png"]


def test_the_old_spelling_with_stack_global():
    content = pickle.dumps(BATCH["data"], protocol=4)
    head, tail = content.index(b"\x8c\x16numpy._core.multiarray"), len(b"\x8c\x16numpy._core.multiarray")
    spelled = content[:head] + b"\x8c\x15numpy.core.multiarray" + content[head + tail:]
    body = spelled[11:-1]
    assert np.array_equal(loads(b"\x80\x04}\x8c\x04data" + body + b"s.", "x")["data"], BATCH["data"])


def test_python_2_strings_and_arrays():
    found = loads(PYTHON_2, "x")
    assert found["labels"] == [1, 2]
    assert found["data"].tolist() == [[0, 127, 128], [254, 255, 10]]


def test_numpy_numbers_become_plain_ones():
    assert loads(pickle.dumps({"labels": [np.int64(7), np.float32(0.5)]}), "x")["labels"] == [7, 0.5]


def test_column_major_arrays():
    array = np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3))
    for protocol in (2, 5):
        assert np.array_equal(loads(pickle.dumps({"a": array}, protocol=protocol), "x")["a"], array)


class Runs:
    def __reduce__(self):
        return os.system, ("touch /nonexistent/never",)


@pytest.mark.parametrize(("evil", "name"), [
    (Runs(), "posix.system"), (print, "builtins.print"), (subprocess.Popen, "(subprocess|commands).Popen"),
    (bytearray, "builtins.bytearray"), ({1, 2}, "(builtins.set|EMPTY_SET)"), (1j, "builtins.complex"),
    (np.array([object], object), "dtype 'O8'"), (np.zeros(2, "i4,f4"), "dtype 'V8'"), (np.zeros(2, "S3"), "dtype 'S3'"),
    (np.float64, "numpy.float64"), (pickle.Unpickler, "pickle.Unpickler")])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickles_of_anything_but_data_are_refused_by_name(evil, name, protocol):
    with pytest.raises(DataError, match=name.replace("builtins", "(builtins|__builtin__)")) as caught:
        loads(pickle.dumps({"data": evil}, protocol=protocol), "some/file")
    assert str(caught.value).startswith("some/file: ") and "\n" not in str(caught.value)


def deep(levels: int) -> bytes:
    return b"\x80\x02}U\x01a" + b")" + b"\x85" * levels + b"s."


def many_arrays(string: bytes, count: int) -> bytes:
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1\x85R"
    head = b"\x80\x02]T" + len(string).to_bytes(4, "little") + string + b"q\x00a" + dtype + b"q\x01a"
    one = array + b"(K\x01J" + len(string).to_bytes(4, "little") + b"\x85h\x01\x89h\x00tba"
    return head + one * count + b"}U\x01b" + array + b"(K\x01J\xff\xff\xff\x7f\x85h\x01\x89h\x00tbs."


@pytest.mark.parametrize("content", [
    b"", b".", b"\x80\x02", b"\x80\x02]q\x00.", b"\x80\x02K\x01.", b"}}s.", b"(.", b"\x80\x02}(U\x01au.",
    b"\x80\x02T\xff\xff\xff\x7fabc", b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fx", b"\x80\x05\x96" + b"\xff" * 7 + b"\x7fx",
    b"\x80\x02j\xff\xff\xff\xff.", b"h\x07.", b"L" + b"9" * 100_000 + b"L\n.",
    b"}(" + b"U\x01a" * 3 + b"u.", b"0.", b"R.", b"b.", b"}Nb.", b"a.", b"Q.", b"\x80\x02}U\x01aP1\ns.",
    b"\x80\x02}" + b")" + b"\x85" * 50 + b"K\x01s.",
    b"\x80\x02}" + b"U" + b"\xff" + b"k" * 255 + b"K\x01s" + b"T\x00\x04\x00\x00" + b"k" * 1024 + b"K\x01s."])
def test_damage_is_one_line_that_names_the_file(content):
    with pytest.raises(DataError, match="^some/file: ") as caught:
        loads(content, "some/file")
    assert "\n" not in str(caught.value)


def test_a_huge_memo_index_costs_nothing():
    # Python's own unpickler would ask for 32 GiB here.
    assert loads(b"\x80\x02}r\xff\xff\xff\x7f.", "x") == {}


def test_sizes_are_not_trusted_and_unread_arrays_are_not_copied():
    # 2,000 arrays over one string of a megabyte would be 2 GB; the array that is read claims two gigabytes.
    tracemalloc.start()
    with pytest.raises(DataError, match=r"damaged or cut short \(ValueError\)"):
        loads(many_arrays(b"x" * 1_000_000, 2_000), "x")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 40_000_000


def test_depth_needs_no_recursion():
    found = loads(deep(500_000), "x")
    assert isinstance(found["a"], tuple)


def test_operations_and_entries_are_limited(monkeypatch):
    monkeypatch.setattr(unpickle, "MAX_OPERATIONS", 1000)
    with pytest.raises(DataError, match="more than 1,000 operations"):
        loads(b"\x80\x02]" + b"Na" * 1000 + b"}.", "x")
    with pytest.raises(DataError, match="more than 64 entries"):
        loads(pickle.dumps({f"key {n}": n for n in range(65)}), "x")


@settings(max_examples=300, deadline=None, database=None)
@given(st.binary(max_size=60))
def test_random_bytes_never_raise_anything_else(content):
    try:
        assert isinstance(loads(content, "x"), dict)
    except DataError:
        pass


def test_mutated_pickles_never_raise_anything_else():
    random = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for protocol in (0, 2, 4, 5):
        whole = pickle.dumps(BATCH, protocol=protocol)
        for _ in range(400):
            content = bytearray(whole)
            for _ in range(random.integers(1, 4)):
                content[random.integers(len(content))] = random.integers(256)
            content = bytes(content[:random.integers(1, len(content) + 1)]) if random.random() < 0.3 else bytes(content)
            try:
                outcomes["read"] += isinstance(loads(content, "x"), dict)
            except DataError as error:
                outcomes["refused"] += "\n" not in str(error)
    assert sum(outcomes.values()) == 1600 and min(outcomes.values()) > 50
