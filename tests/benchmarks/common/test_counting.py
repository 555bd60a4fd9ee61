"""Counting launches, copies and bytes on fake CUDA tensors."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.common.counting import count


@pytest.fixture(autouse=True)
def fake():
    with FakeTensorMode():
        yield


def on_gpu(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="cuda")


def test_an_operation_reads_its_arguments_and_writes_its_result():
    x, y = on_gpu(10, 10), on_gpu(10, 10)
    counts = count(lambda: x + y)
    assert (counts.launches, counts.copies, counts.bytes) == (1, 0, 3 * 400)
    assert counts.operations == {"aten::add": 1}


def test_views_and_empty_tensors_launch_nothing():
    x = on_gpu(10, 10)
    assert count(lambda: (x.view(100)[3:].unsqueeze(0), x.T.reshape(10, 10, 1), torch.empty_like(x))).launches <= 1
    assert count(lambda: (x.view(100)[3:].unsqueeze(0), x.detach(), torch.empty_like(x))).launches == 0


def test_an_expanded_tensor_counts_what_lies_in_memory():
    x = on_gpu(1, 10)
    assert count(lambda: x.expand(100, 10) + 1).bytes == 40 + 4000


def test_a_gather_reads_what_it_returns():
    table, rows = on_gpu(1_000_000, 3), torch.empty(7, dtype=torch.int64, device="cuda")
    assert count(lambda: table[rows]).bytes == 2 * 7 * 3 * 4 + 7 * 8
    assert count(lambda: table.index_select(0, rows)).bytes == 2 * 7 * 3 * 4 + 7 * 8


def test_copies_between_host_and_device_are_counted_apart():
    here = torch.empty(8)
    counts = count(lambda: here.to("cuda") * 2)
    assert (counts.launches, counts.copies) == (1, 1)


def test_what_the_host_computes_is_not_counted():
    here = torch.empty(8)
    assert count(lambda: here + here).launches == 0
