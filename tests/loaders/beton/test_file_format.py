import struct

import numpy as np
import pytest

from loaders.beton import file_format
from loaders.beton.file_format import PAGE_BYTES, Layout, blocks, read_samples

RANDOM = np.random.default_rng(0)


def file_of(images, labels):
    return b"".join(bytes(block) for _, block in blocks(images, labels))


def test_every_byte_of_a_small_file():
    images = RANDOM.integers(0, 256, (3, 2, 5, 3), dtype=np.uint8)
    content = file_of(images, np.array([2, 0, 1]))
    table_at = 2 * PAGE_BYTES
    expected = bytearray(table_at)
    expected[:24] = struct.pack("<HHIQQ", 2, 2, PAGE_BYTES, 3, table_at)
    expected[24:25 + 5], expected[24 + 1041:24 + 1041 + 6] = b"\x02image", b"\x01label"
    for n in range(3):
        at = PAGE_BYTES + 30 * n
        row = 24 + 2 * 1041 + 24 * n
        expected[row:row + 24] = struct.pack("<BHHQ3xq", 1, 5, 2, at, (2, 0, 1)[n])
        expected[at:at + 30] = images[n].tobytes()
        expected += struct.pack("<QQQ", n, at, 30)
    assert content == bytes(expected)
    assert len(content) == Layout(3, 2, 5).file_bytes


def test_images_do_not_cross_pages(monkeypatch):
    monkeypatch.setattr(file_format, "PAGE_BYTES", 4096)
    images = RANDOM.integers(0, 256, (50, 16, 17, 3), dtype=np.uint8)
    labels = RANDOM.integers(0, 9, 50)
    layout, content = Layout(50, 16, 17), file_of(images, labels)
    assert layout.images_per_page == 5 and layout.pages_at == 4096 and layout.table_at == 11 * 4096
    pointers = layout.pointers()
    assert pointers.dtype == np.uint64 and len(content) == layout.file_bytes
    for n, pointer in enumerate(pointers.tolist()):
        assert pointer == 4096 + n // 5 * 4096 + n % 5 * 816
        assert pointer // 4096 == (pointer + 815) // 4096
        assert content[pointer:pointer + 816] == images[n].tobytes()
    counts = [count for count, _ in blocks(images, labels)]
    assert sum(counts) == 50 and counts == [0, *[5] * 10, 0]


def test_many_samples_take_several_pages_of_metadata():
    layout = Layout(400_000, 1, 1)
    assert layout.pages_at == 2 * PAGE_BYTES and layout.pointers()[0] == 2 * PAGE_BYTES
    assert Layout(349_437, 1, 1).pages_at == PAGE_BYTES
    assert Layout(349_438, 1, 1).pages_at == 2 * PAGE_BYTES


def test_an_image_larger_than_a_page_does_not_fit():
    assert Layout(1, 1672, 1672).images_per_page == 1
    assert Layout(1, 1673, 1672).images_per_page == 0


def test_non_contiguous_views_are_written_in_logical_order():
    images = RANDOM.integers(0, 256, (4, 3, 6, 5), dtype=np.uint8).transpose(0, 2, 3, 1)[::-1]
    assert file_of(images, np.arange(4)) == file_of(np.ascontiguousarray(images), np.arange(4))


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(file_format, "PAGE_BYTES", 4096)
    images, labels = RANDOM.integers(0, 256, (20, 4, 6, 3), dtype=np.uint8), np.arange(20) % 7
    path = tmp_path / "a.beton"
    path.write_bytes(file_of(images, labels))
    return path, labels


def test_labels_and_pointers_are_read_back(small):
    path, labels = small
    found, pointers = read_samples(path, Layout(20, 4, 6), 7)
    assert np.array_equal(found, labels) and found.dtype == np.int64
    assert np.array_equal(pointers, Layout(20, 4, 6).pointers()) and pointers.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(("layout", "classes", "part"), [
    ((19, 4, 6), 7, "bytes where 19 images"), ((20, 6, 4), 7, "not all 6 x 4 pixels"),
    ((20, 4, 6), 6, "labels run from 0 to 6, allowed are 0 to 5"), ((20, 5, 6), 7, "not all 5 x 6")])
def test_another_shape_or_number_of_classes_is_refused(small, layout, classes, part):
    with pytest.raises(ValueError, match=part):
        read_samples(small[0], Layout(*layout), classes)


@pytest.mark.parametrize(("at", "value", "part"), [
    (0, 3, "header"), (5, 0, "header"), (8, 21, "header"), (17, 0, "header"), (24, 1, "fields"), (30, 1, "fields"),
    (2106, 0, "are not at the"), (2107, 7, "not all"), (2109, 7, "not all"), (2111, 1, "are not at the"),
    (2106 + 16, 7, "labels run from 0 to 7"), (2106 + 23, 255, "labels run from -")])
def test_every_field_of_the_metadata_is_checked(small, at, value, part):
    path, _ = small
    content = bytearray(path.read_bytes())
    content[at] = value
    path.write_bytes(content)
    with pytest.raises(ValueError, match=part):
        read_samples(path, Layout(20, 4, 6), 7)
