"""Several optimisers as one: steps, states, gradient scaling."""

import io

import pytest
import torch
from torch import nn

from engine.common.errors import EngineError
from engine.optim.optimizer_list import OptimizerList


def made(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    first = torch.optim.SGD(model[0].named_parameters(), lr=0.1, momentum=0.9)
    second = torch.optim.AdamW([{"params": [model[2].weight]}, {"params": [model[2].bias], "lr": 0.5}], lr=0.01)
    return model, first, second


def backward(model, seed, scale=lambda loss: loss):
    images = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
    scale(model(images).square().mean()).backward()


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_step_steps_each_optimiser():
    alone, first, second = made()
    model, *optimizers = made()
    both = OptimizerList(optimizers)
    for seed in range(3):
        backward(alone, seed)
        first.step()
        second.step()
        first.zero_grad()
        second.zero_grad()
        backward(model, seed)
        both.step()
        both.zero_grad(set_to_none=True)
        assert all(p.grad is None for p in model.parameters())
    assert equal(weights(model), weights(alone))


def test_the_groups_are_the_optimisers_own_even_after_loading():
    _, first, second = made()
    both = OptimizerList([first, second])
    both.load_state_dict(both.state_dict())
    assert len(both.param_groups) == 3
    for group in both.param_groups:
        group["lr"] = 7.0
    assert [g["lr"] for g in first.param_groups + second.param_groups] == [7.0] * 3


def test_gradients_can_be_zeroed():
    model, *optimizers = made()
    backward(model, 0)
    OptimizerList(optimizers).zero_grad(set_to_none=False)
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())
    OptimizerList(optimizers).zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_a_loaded_state_continues_exactly():
    model, *optimizers = made()
    both = OptimizerList(optimizers)
    backward(model, 0)
    both.step()
    file = io.BytesIO()
    torch.save(both.state_dict(), file)
    file.seek(0)
    other, *optimizers = made(seed=1)
    other.load_state_dict(model.state_dict())
    resumed = OptimizerList(optimizers)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for net, optimizer in ((model, both), (other, resumed)):
        optimizer.zero_grad()
        backward(net, 1)
        optimizer.step()
    assert equal(weights(model), weights(other))


def test_a_state_of_other_optimisers_is_refused():
    _, first, second = made()
    for state, count in ((OptimizerList([first]).state_dict(), 1), (first.state_dict(), 1)):
        with pytest.raises(EngineError, match=f"number of optimisers, {count}, must be this run's, 2: resume"):
            OptimizerList([first, second]).load_state_dict(state)


def test_a_gradient_scaler_treats_it_as_one_optimiser():
    plain, first, second = made()
    backward(plain, 0)
    OptimizerList([first, second]).step()
    model, *optimizers = made()
    both, scaler = OptimizerList(optimizers), torch.amp.GradScaler("cpu", init_scale=1024.0)
    backward(model, 0, scaler.scale)
    scaler.unscale_(both)
    scaler.step(both)
    scaler.update()
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    before = weights(model)
    both.zero_grad()
    backward(model, 1, scaler.scale)
    # An overflow in one optimiser's gradients skips the step of the other too.
    model[2].bias.grad[0] = float("inf")
    scaler.step(both)
    scaler.update()
    assert equal(weights(model), before)
    assert scaler.get_scale() == 512.0
