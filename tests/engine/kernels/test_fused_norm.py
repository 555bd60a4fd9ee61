"""The fused operation against torch's separate ones in fp64, in every combination of its parts."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.common.errors import EngineError
from engine.kernels import native
from engine.kernels.fused_norm import NormActStack, act_alone, fuse, is_2x2_max, norm_act
from engine.models.sprint import Sprint

ACTS = {"none": None, "relu": nn.ReLU(), "gelu": nn.GELU()}
POOLS = ("none", "after", "before")
# Odd sides leave a row and a column outside every window; 48 channels are three vectors, 80 one group and one more.
SHAPES = [(8, 64, 9, 7), (5, 48, 6, 6), (4, 80, 4, 5), (3, 16, 2, 2)]


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compiles once per machine, before the tests, which start no process."""
    return native.library()


def called(x, norm, act, pool):
    return norm_act(x, norm, act, pool=None if pool == "none" else nn.MaxPool2d(2), pool_first=pool == "before")


def by_torch(x, norm, act, pool):
    x = F.max_pool2d(x, 2) if pool == "before" else x
    x = norm(x)
    x = x if act is None else act(x)
    return F.max_pool2d(x, 2) if pool == "after" else x


def results(function, x, norm, act, pool, gradient):
    """Output, gradients and statistics of one pass and its backward."""
    x, norm = x.detach().clone(memory_format=torch.preserve_format).requires_grad_(), copy.deepcopy(norm)
    y = function(x, norm, act, pool)
    y.backward(gradient[:, :, :y.shape[2], :y.shape[3]].to(y.dtype))
    return y.detach(), x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var


def made(shape, dtype, seed=0):
    """An input whose channels have other means and spreads, a norm that has seen batches, and a gradient."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    norm = nn.BatchNorm2d(shape[1], momentum=0.4)
    with torch.no_grad():
        norm.weight.copy_(draw(shape[1]))
        norm.bias.copy_(draw(shape[1]))
        norm.running_mean.copy_(draw(shape[1]))
    x = 5 * draw(1, shape[1], 1, 1) + 3 * draw(*shape)
    return (x.to(dtype).contiguous(memory_format=torch.channels_last), norm,
            draw(*shape).to(dtype).contiguous(memory_format=torch.channels_last))


def deviation(value, true):
    return ((value.double() - true).abs().max() / true.abs().max()).item()


@pytest.mark.parametrize("shape, act, pool", list(itertools.product(SHAPES, ACTS, POOLS)))
def test_fp32_is_what_fp64_gives(shape, act, pool):
    x, norm, gradient = made(shape, torch.float32)
    true = results(by_torch, x.double(), copy.deepcopy(norm).double(), ACTS[act], pool, gradient)
    assert fuse(norm) == 1
    for value, wanted in zip(results(called, x, norm, ACTS[act], pool, gradient), true, strict=True):
        assert deviation(value, wanted) < 2e-6


@pytest.mark.parametrize("shape, act, pool", list(itertools.product(SHAPES, ACTS, POOLS)))
def test_bf16_is_no_further_from_fp64_than_torch(shape, act, pool):
    x, norm, gradient = made(shape, torch.bfloat16)
    true = results(by_torch, x.double(), copy.deepcopy(norm).double(), ACTS[act], pool, gradient)
    plain = results(by_torch, x, norm, ACTS[act], pool, gradient)
    fuse(norm)
    fused = results(called, x, norm, ACTS[act], pool, gradient)
    assert [value.dtype for value in fused] == [value.dtype for value in plain]
    for value, torchs, wanted in zip(fused, plain, true, strict=True):
        assert deviation(value, wanted) <= 1.5 * deviation(torchs, wanted) + 2e-6


def test_a_mean_far_above_the_spread_costs_no_digits():
    x, norm, gradient = made((16, 16, 8, 8), torch.float32)
    x = 1000 + x / 100
    true = results(by_torch, x.double(), copy.deepcopy(norm).double(), None, "none", gradient)
    fuse(norm)
    assert deviation(results(called, x, norm, None, "none", gradient)[5], true[5]) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_threads_changes_no_bit(dtype):
    x, norm, gradient = made((16, 32, 9, 9), dtype)
    fuse(norm)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(results(called, x, norm, nn.GELU(), "after", gradient))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("pool", POOLS)
def test_a_value_that_is_no_number_is_seen_in_the_whole_channel(pool):
    x, norm, _ = made((2, 16, 4, 4), torch.bfloat16)
    x[1, 3, 1, 1] = float("nan")
    fuse(norm)
    bad = called(x, norm, nn.ReLU(), pool).isnan()
    assert bad[:, 3].all() and bad.sum() == bad[:, 3].numel()


@pytest.mark.parametrize("count", [5, 16, 1000, 1003])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_alone(count, dtype):
    act = nn.GELU()
    assert fuse(nn.ModuleList([act, nn.BatchNorm2d(16)])) == 1 and act.fuses
    x = torch.linspace(-12, 12, count).to(dtype).view(1, 1, 1, count).contiguous(memory_format=torch.channels_last)
    x, exact = x.requires_grad_(), x.detach().double().requires_grad_()
    y, wanted = act_alone(x, act), F.gelu(exact)
    y.sum().backward()
    wanted.sum().backward()
    tolerance = {"rtol": 2**-8, "atol": 1e-6} if dtype == torch.bfloat16 else {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(y.double(), wanted, **tolerance)
    torch.testing.assert_close(x.grad.double(), exact.grad, **tolerance)


def test_evaluation_and_inputs_without_a_form_are_torchs():
    x, norm, _ = made((4, 16, 5, 5), torch.float32)
    plain = copy.deepcopy(norm)
    fuse(norm)
    assert torch.equal(norm_act(x.contiguous(), norm, nn.ReLU()), nn.ReLU()(plain(x.contiguous())))
    assert torch.equal(norm_act(x, norm.eval(), nn.ReLU()), nn.ReLU()(plain.eval()(x)))
    with pytest.raises(ValueError, match="more than 1 value"):
        norm_act(x[:1, :, :1, :1], norm.train())
    # A pool of 3 x 3 pixels leaves one.
    with pytest.raises(ValueError, match="more than 1 value"):
        norm_act(x[:1, :, :3, :3], norm, pool=nn.MaxPool2d(2), pool_first=True)


def test_a_norm_that_does_not_fit_its_input_is_left_to_torch():
    x, norm, _ = made((4, 32, 5, 5), torch.float32)
    fuse(narrow := nn.BatchNorm2d(16))
    with pytest.raises(RuntimeError, match="running_mean should contain 32 elements"):
        norm_act(x, narrow)
    fuse(norm)
    half = copy.deepcopy(norm).bfloat16()
    assert torch.equal(norm_act(x.bfloat16(), half), F.batch_norm(
        x.bfloat16(), norm.running_mean.bfloat16(), norm.running_var.bfloat16(), norm.weight.bfloat16(),
        norm.bias.bfloat16(), True, norm.momentum, norm.eps))


def test_odd_numbers_of_channels_and_other_kinds_stay_torchs():
    kinds = [nn.BatchNorm2d(24), nn.BatchNorm2d(16, affine=False), nn.BatchNorm2d(16, momentum=None),
             nn.GroupNorm(2, 16), nn.GELU("tanh"), nn.BatchNorm1d(16)]
    assert fuse(nn.ModuleList(kinds)) == 0
    assert not is_2x2_max(nn.MaxPool2d(3)) and not is_2x2_max(nn.MaxPool2d(2, 1)) and is_2x2_max(nn.MaxPool2d((2, 2)))


def test_a_stack_gives_its_norms_what_follows_them():
    torch.manual_seed(0)
    plain = NormActStack(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2),
                         nn.BatchNorm2d(16), nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16), nn.SiLU())
    fused = copy.deepcopy(plain)
    assert fuse(fused) == 3 and list(fused.state_dict()) == list(plain.state_dict())
    images = torch.randn(4, 3, 10, 10).contiguous(memory_format=torch.channels_last)
    for one, other in zip([plain(images), *plain.buffers()], [fused(images), *fused.buffers()], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_network_trains_as_without_it_and_a_copy_of_it_too():
    torch.manual_seed(0)
    plain = Sprint(10, widths=(32, 48, 64), convs=3).to(memory_format=torch.channels_last)
    fused = copy.deepcopy(plain)
    assert fuse(fused) == 9
    images = torch.randn(8, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    for model in (plain, fused, again := copy.deepcopy(fused)):
        F.cross_entropy(model(images), torch.arange(8)).backward()
    for one, other, third in zip(plain.parameters(), fused.parameters(), again.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-3 * one.grad.abs().max().item())
            assert torch.equal(other.grad, third.grad)


def test_without_a_compiler_it_is_refused_in_one_line(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    with pytest.raises(EngineError, match=r"^there is no C\+\+ compiler: install g\+\+ 11 or later$"):
        native.library.__wrapped__()


@pytest.mark.slow("compiles")
@pytest.mark.parametrize("damage", [b"", b"no library"], ids=["empty", "other"])
def test_a_damaged_file_is_compiled_anew(monkeypatch, tmp_path, damage):
    monkeypatch.setattr(native, "CACHE", tmp_path / "first")
    native.library.__wrapped__()
    [file] = (tmp_path / "first").iterdir()
    # Elsewhere: what is loaded from a path stays loaded.
    (tmp_path / "second").mkdir()
    (damaged := tmp_path / "second" / file.name).write_bytes(damage)
    monkeypatch.setattr(native, "CACHE", tmp_path / "second")
    assert native.library.__wrapped__().scratch_doubles(16) > 0
    assert list((tmp_path / "second").iterdir()) == [damaged] and damaged.stat().st_size == file.stat().st_size


@pytest.mark.slow("compiles")
def test_where_no_file_can_be_kept_it_is_compiled_into_a_folder_of_its_own(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(native, "CACHE", tmp_path / "file")
    monkeypatch.setattr(native.tempfile, "tempdir", str(temporary))
    assert native.library.__wrapped__().scratch_doubles(16) > 0
    assert not any(temporary.iterdir())


def test_what_cannot_be_loaded_anywhere_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "CACHE", tmp_path / "a")
    monkeypatch.setattr(native, "_run", lambda *command: open(command[command.index("-o") + 1], "w").close())
    with pytest.raises(EngineError) as caught:
        native.library.__wrapped__()
    assert str(caught.value).startswith("the compiled kernel cannot be loaded (") and "\n" not in str(caught.value)
    assert str(caught.value).endswith("): set TMPDIR to a folder that may hold programs")


def test_a_compiler_that_is_no_command_is_one_line(monkeypatch):
    monkeypatch.setenv("CXX", "g++ '")
    with pytest.raises(EngineError, match=r"^the environment's CXX is no command \(No closing quotation\): correct it"):
        native.library.__wrapped__()


@pytest.mark.slow("starts a program in the compiler's place")
def test_a_compiler_that_fails_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "CACHE", tmp_path)
    monkeypatch.setenv("CXX", "/bin/false")
    with pytest.raises(EngineError, match=r"^/bin/false failed .*: install g\+\+ 11 or later$"):
        native.library.__wrapped__()
    assert not any(tmp_path.iterdir())
