"""What fused kernels move, against sums done by hand; all tensors have 4,000,000 bytes, a norm's statistics 100."""

import torch

from benchmarks.modelling.fusing import Work, each_alone, fused
from benchmarks.modelling.trace import Operation

SIZE, FP32 = 4_000_000, torch.float32
A, B, C, D, E, F, G, W, STATS = range(9)


def operation(reads, writes, kind="pointwise", flops=0, **options):
    sized = [{key: 100 if key == STATS else SIZE for key in keys} for keys in (reads, writes)]
    return Operation(kind, kind, "passes", FP32, flops, *sized, **options)


def matrix(reads, writes):
    return operation(reads, writes, "product", flops=7, narrow=3)


def test_one_run_reads_what_comes_from_outside_once_and_writes_what_is_read_later():
    """d = (a + b) * a; then a product of d."""
    works = fused([operation([A, B], [C]), operation([C, A], [D]), matrix([D, W], [E])], read_later=[E])
    found = [(work.kind, work.bytes, work.kernels) for work in works]
    assert found == [("fused", 3 * SIZE, 1), ("product", 3 * SIZE, 1)]
    assert (works[1].flops, works[1].narrow) == (7, 3)


def test_a_norm_reads_its_input_once_more_in_a_kernel_of_its_own():
    works = fused([matrix([A, W], [B]), operation([B], [C, STATS], "norm"), operation([C], [D], "relu"),
                   matrix([D, W], [E])], read_later=[E])
    # Read for the statistics, read to normalise, and the activation written.
    assert (works[1].bytes, works[1].kernels) == (3 * SIZE, 2)


def test_the_backward_pass_of_a_norm_reads_both_its_inputs_once_more():
    works = fused([matrix([A, W], [B]), operation([B, C], [D], "norm backward"), matrix([D, W], [E])], read_later=[E])
    assert (works[1].bytes, works[1].kernels) == ((2 + 2 + 1) * SIZE, 2)


def test_what_only_a_later_run_reads_is_made_again_where_that_moves_less():
    """c = f(b), d = g(c) forward, from b that a product wrote; backward e = h(f, b, c)."""
    forward = [matrix([A, W], [B]), operation([B], [C]), operation([C], [D]), matrix([D, W], [E])]
    backward = [operation([E, B, C], [F]), matrix([F, W], [G])]
    works = fused([*forward, *backward], read_later=[G])
    assert [work.bytes for work in works if work.kind == "fused"] == [2 * SIZE, 3 * SIZE]
    # Without b at hand, it would have to be read instead of c: no more is moved either, and c is not written.
    works = fused([*forward, operation([E, C], [F]), matrix([F, W], [G])], read_later=[G])
    assert [work.bytes for work in works if work.kind == "fused"] == [2 * SIZE, 3 * SIZE]


def test_what_a_matrix_operation_or_the_caller_reads_is_kept():
    first = [operation([A, B], [C])]
    assert fused([*first, matrix([W, D], [E]), matrix([C, W], [F])], read_later=[E, F])[0].bytes == 3 * SIZE
    assert fused(first, read_later=[C])[0].bytes == 3 * SIZE
    assert fused(first)[0].bytes == 2 * SIZE


def test_what_was_there_before_is_written_whoever_reads_it():
    """Running averages: a += b in place."""
    assert fused([operation([A, B], [A])])[0].bytes == 3 * SIZE


def test_what_costs_more_to_make_again_is_kept():
    """c comes from three tensors, of which the later run has none."""
    works = fused([operation([A, B, D], [C]), matrix([C, W], [E]), operation([C, E], [F])], read_later=[F])
    assert [work.bytes for work in works if work.kind == "fused"] == [4 * SIZE, 3 * SIZE]


def test_alone_each_operation_moves_its_own_bytes():
    operations = [operation([A, B], [C], tensors=5), operation([C], [D], kernels=2)]
    assert each_alone(operations) == [Work("pointwise", "passes", FP32, 0, 3 * SIZE, 1),
                                      Work("pointwise", "passes", FP32, 0, 2 * SIZE, 2)]
    assert [work.kernels for work in each_alone(operations, by_tensor=True)] == [5, 2]
