"""Muon against a plain implementation in numpy, and against torch's."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from engine.common.errors import EngineError
from engine.optim.muon import SCALES, Muon, fast_dtype, orthogonal

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
# Two of one shape, a wide and a tall convolution, a tall and a wide matrix, and a 1x1 convolution.
SHAPES = ((8, 3, 3, 3), (8, 3, 3, 3), (4, 8, 3, 3), (32, 2, 3, 3), (12, 5), (5, 12), (6, 6, 1, 1))


def plain_orthogonal(matrix, iterations=5):
    """Newton-Schulz of one matrix in numpy, float64."""
    x = matrix / max(np.linalg.norm(matrix), 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def plain_muon(w, grads, lr, momentum, nesterov, decay, scale):
    """One weight after one update per gradient, in numpy, float64."""
    rows, columns = len(w), w[0].size
    buffer = np.zeros_like(w)
    for grad in grads:
        buffer = momentum * buffer + (1 - momentum) * grad
        direction = (1 - momentum) * grad + momentum * buffer if nesterov else buffer
        update = plain_orthogonal(direction.reshape(rows, columns)).reshape(w.shape)
        if scale == "unit":
            w = w * math.sqrt(rows) / np.linalg.norm(w)
        factor = {"rms": 0.2 * math.sqrt(max(rows, columns)), "shape": math.sqrt(max(1, rows / columns)), "unit": 1}
        w = (1 - lr * decay) * w - lr * factor[scale] * update
    return w


def drawn(shapes=SHAPES, dtype=torch.float64, steps=4, seed=0):
    """Weights and their gradients at each step."""
    generator = torch.Generator().manual_seed(seed)
    weights, *gradients = ([torch.randn(shape, dtype=dtype, generator=generator) for shape in shapes]
                           for _ in range(steps + 1))
    return weights, gradients


def train(optimizer, parameters, gradients):
    for of_step in gradients:
        for parameter, gradient in zip(parameters, of_step, strict=True):
            parameter.grad = None if gradient is None else torch.empty_like(parameter).copy_(gradient)
        optimizer.step()


def parameters_of(weights, memory_format=torch.preserve_format):
    return [nn.Parameter(w.clone(memory_format=memory_format if w.ndim == 4 else torch.preserve_format))
            for w in weights]


def with_singular_values(count, rows, columns, values):
    generator = torch.Generator().manual_seed(rows)
    u = torch.linalg.qr(torch.randn(count, rows, len(values), dtype=torch.float64, generator=generator))[0]
    v = torch.linalg.qr(torch.randn(count, columns, len(values), dtype=torch.float64, generator=generator))[0]
    return u, v, u @ torch.diag(values) @ v.mT


@pytest.mark.parametrize(("rows", "columns"), [(10, 40), (40, 10), (10, 10)])
@pytest.mark.parametrize(("dtype", "slack"), [(torch.float64, 0.0), (torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_the_singular_values_come_near_1_and_the_vectors_stay(rows, columns, dtype, slack):
    u, v, matrices = with_singular_values(3, rows, columns, torch.linspace(0.1, 7, 10, dtype=torch.float64))
    given = matrices.to(dtype)
    before = given.clone()
    made = orthogonal(given)
    assert made.dtype == dtype and made.shape == matrices.shape and torch.equal(given, before)
    made = made.double()
    inner = u.mT @ made @ v
    values = inner.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.65 - slack and values.max() < 1.25 + slack
    assert (inner - torch.diag_embed(values)).abs().max() < 1e-9 + slack
    assert (made - u @ inner @ v.mT).abs().max() < 1e-9 + slack


@pytest.mark.parametrize("iterations", [1, 3, 5])
@pytest.mark.parametrize(("rows", "columns"), [(10, 40), (40, 10)])
def test_as_many_iterations_as_asked_for(iterations, rows, columns):
    (matrix,), _ = drawn([(rows, columns)], steps=1)
    expected = plain_orthogonal(matrix.numpy(), iterations)
    np.testing.assert_allclose(orthogonal(matrix[None], iterations)[0].numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("iterations", "below"), [(3, 1 / 56), (5, 1 / 660)])
def test_from_which_singular_value_on_they_suffice(iterations, below):
    """Of one value beside a large one, as shares of the matrix's norm."""
    shares = np.concatenate([np.geomspace(below * 1.02, 0.7, 200), [below * 0.98]])
    matrices = torch.from_numpy(np.stack([np.diag([share, np.sqrt(1 - share**2)]) for share in shares]))
    values = torch.linalg.svdvals(orthogonal(matrices, iterations)).min(1).values.numpy()
    assert (values[:-1] > 0.67).all() and values[-1] < 0.68


def test_matrices_of_a_batch_are_independent():
    matrices = torch.randn(5, 7, 11, generator=torch.Generator().manual_seed(0))
    matrices[2] = 0
    batched = orthogonal(matrices)
    for index, matrix in enumerate(matrices):
        torch.testing.assert_close(batched[index], orthogonal(matrix[None])[0])
    assert not batched[2].any()
    torch.testing.assert_close(orthogonal(matrices.mT).mT, batched)
    torch.testing.assert_close(orthogonal(matrices * 2**20), batched)


def test_the_products_are_those_of_the_shorter_side(monkeypatch):
    shapes, product = set(), torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda a, b: shapes.add((a.shape[1], b.shape[2])) or product(a, b))
    for rows, columns in ((3, 8), (8, 3)):
        orthogonal(torch.ones(2, rows, columns))
    assert shapes == {(3, 3)}


def test_a_step_stays_on_the_weights_device():
    """Nothing but the meta device's shapes is calculated: a matrix on another device would be refused."""
    parameters = [nn.Parameter(torch.empty(4, 6, device="meta")), nn.Parameter(torch.empty(8, 2, 3, device="meta"))]
    train(Muon(parameters, 0.1), parameters, [[torch.empty_like(p) for p in parameters]])


def test_what_is_not_given_is_muons_usual():
    weights, gradients = drawn()
    parameters = parameters_of(weights)
    train(Muon(parameters, dtype=torch.float64), parameters, gradients)
    for index, (parameter, weight) in enumerate(zip(parameters, weights, strict=True)):
        expected = plain_muon(weight.numpy(), [g[index].numpy() for g in gradients], 1e-3, 0.95, True, 0.0, "rms")
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-9, atol=1e-11)


def test_a_group_without_gradients_holds_up_no_other():
    parameters = parameters_of([torch.ones(2, 3), torch.ones(2, 3)])
    train(Muon([{"params": [p]} for p in parameters], 0.1), parameters, [[None, torch.ones(2, 3)]])
    assert parameters[0].eq(1).all() and parameters[1].ne(1).all()


def test_only_the_iterations_are_in_bf16():
    _, ((gradient,),) = drawn([(6, 9)], torch.float32, steps=1)
    parameters = parameters_of([torch.zeros(6, 9)])
    train(Muon(parameters, 0.3, momentum=0.0, scale="shape", dtype=torch.bfloat16), parameters, [[gradient]])
    direction = orthogonal(gradient.bfloat16()[None])[0].float()
    torch.testing.assert_close(parameters[0].detach(), -0.3 * direction)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_with_small_gradients_move_as_float32_weights_do(dtype):
    weights, gradients = drawn([(6, 9), (6, 9)], torch.float32, steps=1)
    gradients = [[(1e-5 * g).to(dtype) for g in gradients[0]]]
    halves, wide = parameters_of([0 * w.to(dtype) for w in weights]), parameters_of([0 * w for w in weights])
    train(Muon(halves, 0.1, momentum=0.0, dtype=torch.float32), halves, gradients)
    train(Muon(wide, 0.1, momentum=0.0, dtype=torch.float32), wide, gradients)
    for a, b in zip(halves, wide, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.float(), b, rtol=0.01, atol=1e-4)
    assert orthogonal(gradients[0][0][None]).dtype == dtype


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("nesterov", [True, False])
def test_updates_equal_the_formula(scale, nesterov):
    weights, gradients = drawn()
    parameters = parameters_of(weights)
    decay = 0.0 if scale == "unit" else 0.1
    optimizer = Muon(parameters, 0.2, momentum=0.9, nesterov=nesterov, weight_decay=decay, scale=scale,
                     dtype=torch.float64)
    train(optimizer, parameters, gradients)
    for index, (parameter, weight) in enumerate(zip(parameters, weights, strict=True)):
        expected = plain_muon(weight.numpy(), [g[index].numpy() for g in gradients], 0.2, 0.9, nesterov, decay, scale)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-9, atol=1e-11)


def test_updates_take_the_iterations_asked_for():
    (weight, _), ((gradient, _),) = drawn([(6, 9), (6, 9)], steps=1)
    (parameter,) = parameters_of([weight])
    train(Muon([parameter], 0.2, momentum=0.6, scale="unit", iterations=3, dtype=torch.float64), [parameter],
          [[gradient]])
    plain = weight.numpy() * math.sqrt(6) / np.linalg.norm(weight.numpy()) - 0.2 * plain_orthogonal(gradient.numpy(), 3)
    np.testing.assert_allclose(parameter.detach().numpy(), plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("scale", "theirs"), [("rms", "match_rms_adamw"), ("shape", "original")])
@pytest.mark.parametrize("nesterov", [True, False])
def test_updates_equal_those_of_torch_for_matrices(scale, theirs, nesterov):
    weights, gradients = drawn([(24, 40), (24, 40), (40, 16), (16, 16)], torch.float32, steps=5)
    ours, plain = parameters_of(weights), parameters_of(weights)
    train(Muon(ours, 0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.05, scale=scale, dtype=torch.bfloat16),
          ours, gradients)
    train(torch.optim.Muon(plain, 0.1, weight_decay=0.05, momentum=0.9, nesterov=nesterov, adjust_lr_fn=theirs),
          plain, gradients)
    for a, b, start in zip(ours, plain, weights, strict=True):
        # bf16 has eight bits: two orders of its operations differ by about a hundredth.
        assert (a - b).norm() < 0.02 * (b - start).norm()


def test_the_layout_of_convolutions_changes_nothing():
    weights, gradients = drawn(dtype=torch.float32)
    last, contiguous = parameters_of(weights, torch.channels_last), parameters_of(weights)
    optimizer = Muon(last, 0.1, dtype=torch.float32)
    train(optimizer, last, gradients)
    train(Muon(contiguous, 0.1, dtype=torch.float32), contiguous, gradients)
    for a, b in zip(last, contiguous, strict=True):
        assert torch.equal(a, b)
        assert optimizer.state[a]["momentum_buffer"].stride() == a.stride()
    assert last[0].stride() != contiguous[0].stride()


def test_weights_without_a_gradient_or_with_zeros_stay():
    weights, gradients = drawn([(4, 6), (4, 6), (4, 6)], torch.float32, steps=1)
    parameters = parameters_of(weights)
    gradients[0][0], gradients[0][1] = None, torch.zeros(4, 6)
    optimizer = Muon(parameters, 0.1)
    train(optimizer, parameters, gradients)
    assert [torch.equal(p, w) for p, w in zip(parameters, weights, strict=True)] == [True, True, False]
    assert parameters[0] not in optimizer.state
    train(optimizer, parameters, [[None] * 3])
    assert torch.equal(parameters[1], weights[1])


def test_even_tiny_weights_are_brought_to_unit_rows_and_zeros_stay():
    parameters = parameters_of([torch.full((9, 4), 1e-6), torch.zeros(9, 4)])
    train(Muon(parameters, 0.1, scale="unit"), parameters, [[torch.zeros(9, 4)] * 2])
    assert parameters[0].norm().item() == pytest.approx(3.0)
    assert not parameters[1].any()


def test_each_group_has_its_own_rate_momentum_and_scale():
    weights, gradients = drawn([(4, 6), (4, 6)])
    parameters = parameters_of(weights)
    train(Muon([{"params": [("a", parameters[0])], "lr": 0.3, "momentum": 0.5, "pattern": "a"},
                {"params": [("b", parameters[1])], "weight_decay": 0.2, "nesterov": False, "scale": "shape"}],
               0.1, momentum=0.8, dtype=torch.float64), parameters, gradients)
    for index, settings in enumerate([(0.3, 0.5, True, 0.0, "rms"), (0.1, 0.8, False, 0.2, "shape")]):
        expected = plain_muon(weights[index].numpy(), [g[index].numpy() for g in gradients], *settings)
        np.testing.assert_allclose(parameters[index].detach().numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("scale", "decay"), [("rms", 0.1), ("unit", 0.0)])
def test_a_rate_may_be_a_tensor(scale, decay):
    weights, gradients = drawn(dtype=torch.float32)
    by_tensor, by_number = parameters_of(weights), parameters_of(weights)
    train(Muon(by_tensor, torch.tensor(0.125), weight_decay=decay, scale=scale), by_tensor, gradients)
    train(Muon(by_number, 0.125, weight_decay=decay, scale=scale), by_number, gradients)
    for a, b in zip(by_tensor, by_number, strict=True):
        torch.testing.assert_close(a, b)


def test_a_loaded_state_continues_exactly():
    weights, gradients = drawn(dtype=torch.float32, steps=3)
    first = parameters_of(weights)
    optimizer = Muon(first, 0.1, weight_decay=0.1, momentum=0.8)
    train(optimizer, first, gradients[:2])
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    second = parameters_of([p.detach() for p in first])
    resumed = Muon(second, 0.7, momentum=0.1)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    train(optimizer, first, gradients[2:])
    train(resumed, second, gradients[2:])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_state_of_a_former_version_has_five_iterations():
    weights, gradients = drawn(dtype=torch.float32, steps=2)
    parameters = parameters_of(weights)
    optimizer = Muon(parameters, 0.1)
    train(optimizer, parameters, gradients[:1])
    state = copy.deepcopy(optimizer.state_dict())
    for group in state["param_groups"]:
        del group["iterations"]
    copies = parameters_of([p.detach() for p in parameters])
    resumed = Muon(copies, 0.1, iterations=3)
    resumed.load_state_dict(state)
    assert resumed.param_groups[0]["iterations"] == 5
    train(optimizer, parameters, gradients[1:])
    train(resumed, copies, gradients[1:])
    assert all(torch.equal(a, b) for a, b in zip(parameters, copies, strict=True))


def test_the_iterations_are_in_bf16_only_where_that_is_native(monkeypatch):
    for avx, amx, expected in ((False, False, torch.float32), (True, False, torch.bfloat16),
                               (False, True, torch.bfloat16)):
        fast_dtype.cache_clear()
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert fast_dtype(torch.device("cpu")) == expected
    for capability, expected in (((7, 5), torch.float32), ((8, 0), torch.bfloat16)):
        fast_dtype.cache_clear()
        asked = []
        monkeypatch.setattr(torch.cuda, "get_device_capability",
                            lambda device, found=capability, asked=asked: asked.append(device) or found)
        assert fast_dtype(torch.device("cuda", 1)) == expected and asked == [torch.device("cuda", 1)]
    assert fast_dtype(torch.device("mps")) == torch.float32
    fast_dtype.cache_clear()


def test_the_factors_of_the_scales():
    assert SCALES["rms"](4, 25) == SCALES["rms"](25, 4) == 1.0
    assert (SCALES["shape"](36, 4), SCALES["shape"](4, 36)) == (3.0, 1.0)
    assert SCALES["unit"](36, 4) == 1.0


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((3,), {}, r"two or more dimensions, not one of shape \(3,\): give it"),
        ((3, 3), {"iterations": 0}, "optim.muon_iterations=0 must be 1 or more"),
        ((3, 3), {"scale": "rows"}, "optim.muon_scale=rows must be one of rms, shape, unit"),
        ((3, 3), {"scale": "unit", "weight_decay": 0.1}, "optim.weight_decay=0.1 has no effect on Muon's weights "
         "with optim.muon_scale=unit, which sets their norm: make it 0 for them"),
    ],
)
def test_wrong_weights_and_settings_are_refused(shape, settings, message):
    with pytest.raises(EngineError, match=message):
        Muon([nn.Parameter(torch.zeros(shape))], **settings)


@needs_cuda
@pytest.mark.parametrize("scale", SCALES)
def test_a_captured_step_follows_the_rate_without_waiting(scale):
    weights, gradients = drawn(dtype=torch.float32, steps=4)
    weights, gradients = [w.cuda() for w in weights], [[g.cuda() for g in of_step] for of_step in gradients]
    rates = [torch.tensor(rate, device="cuda") for rate in (0.1, 0.1, 0.3, 0.02)]
    eager, captured = parameters_of(weights), parameters_of(weights)
    optimizer = Muon(eager, rates[0].clone(), scale=scale)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for rate, of_step in zip(rates, gradients, strict=True):
            optimizer.param_groups[0]["lr"].copy_(rate)
            train(optimizer, eager, [of_step])
    finally:
        torch.cuda.set_sync_debug_mode("default")

    optimizer = Muon(captured, rates[0].clone(), scale=scale)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        train(optimizer, captured, gradients[:1])
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for rate, of_step in zip(rates[1:], gradients[1:], strict=True):
        optimizer.param_groups[0]["lr"].copy_(rate)
        for parameter, gradient in zip(captured, of_step, strict=True):
            parameter.grad.copy_(gradient)
        graph.replay()
    for a, b in zip(eager, captured, strict=True):
        torch.testing.assert_close(a, b)
