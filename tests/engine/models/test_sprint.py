"""The sprint net against its definition by hand, and its whitening."""

import math

import pytest
import torch
from torch import nn

from engine.common.errors import EngineError
from engine.models.flops import flops_per_image, parameters
from engine.models.sprint import POOLS, Group, Sprint, conv
from engine.models.whitening import WHITEN_EPS


@pytest.fixture(scope="module")
def images():
    """Images whose neighbouring pixels and channels are correlated, as in photographs; tests only read them."""
    torch.manual_seed(0)
    noise = torch.randn(40, 3, 12, 12)
    return 0.05 * (noise + noise.roll(1, 2) + noise.roll(1, 3) + noise.mean(1, keepdim=True))


def test_the_size_stated_in_its_docstring():
    with torch.device("meta"):
        model = Sprint(10)
        fixed = 24 * 3 * 2 * 2 + 2 * (64 + 256 + 256)
        assert parameters(model) == (1_971_352 + fixed, 1_971_352)
        assert round(flops_per_image(model, 32) / 2e6) == 118


def test_multiply_adds_by_hand():
    with torch.device("meta"):
        model = Sprint(10, widths=(24, 32, 40), convs=2)
    expected = 24 * 12 * 31**2
    for before, width, side in ((24, 24, 31), (24, 32, 15), (32, 40, 7)):
        expected += 9 * before * width * side**2 + 9 * width * width * (side // 2) ** 2
    assert flops_per_image(model, 32) == 2 * (expected + 40 * 10)


@pytest.mark.parametrize("convs", [1, 2, 3])
def test_feature_maps(convs):
    with torch.device("meta"):
        model = Sprint(10, widths=(24, 32, 40), convs=convs)
        x = model.act(model.stem(torch.empty(2, 3, 32, 32)))
        shapes = [tuple(x.shape)] + [tuple((x := group(x)).shape) for group in model.groups]
        assert shapes == [(2, 24, 31, 31), (2, 24, 15, 15), (2, 32, 7, 7), (2, 40, 3, 3)]
        assert model(torch.empty(2, 3, 64, 64)).shape == (2, 10)
        assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 1 + 3 * convs


def test_what_trains():
    model = Sprint(10, widths=(24, 24, 24), convs=3)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    norms = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert len(norms) == 9 and frozen == norms | {"stem.weight"}
    model(torch.randn(8, 3, 32, 32)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters() if p.requires_grad)


def test_logits_by_hand():
    torch.manual_seed(0)
    model = Sprint(5, widths=(24, 24, 30)).eval()
    images = torch.randn(3, 3, 32, 32)
    features = model.groups(nn.functional.gelu(model.stem(images))).flatten(2).max(2).values
    torch.testing.assert_close(model(images), features @ model.head.weight.T / 30)
    assert model.head.bias is None
    torch.testing.assert_close(model.head.weight.std(), torch.tensor(1.0))


def test_max_pooling_is_the_largest_value_and_of_equal_ones_the_first_gets_the_gradient():
    torch.manual_seed(0)
    x = torch.randn(4, 5, 3, 3, requires_grad=True)
    made, expected = POOLS["max"](x), x.amax((2, 3))
    assert torch.equal(made, expected)
    weights = torch.randn(4, 5)
    gradients = [torch.autograd.grad((pooled * weights).sum(), x)[0] for pooled in (made, expected)]
    assert torch.equal(*gradients)
    for side_px in (1, 2, 4, 7):
        other = torch.randn(2, 3, side_px, side_px)
        assert torch.equal(POOLS["max"](other), POOLS["amax"](other))
    flat = torch.ones(1, 1, 2, 2, requires_grad=True)
    (first,), (shared,) = (torch.autograd.grad(POOLS[pool](flat).sum(), flat) for pool in ("max", "amax"))
    assert first.flatten().tolist() == [1, 0, 0, 0] and shared.flatten().tolist() == [0.25] * 4


def test_the_norms_have_the_eps_asked_for():
    for eps in (1e-5, 1e-12):
        model = Sprint(10, widths=(24, 24, 24), norm_eps=eps)
        assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {eps}
    # A map that hardly varies: its variance, 1e-12, is as large as the eps.
    norm = Sprint(10, widths=(24, 24, 24), norm_eps=1e-12).groups[0].norm1.double()
    x = torch.tensor([1e-6, -1e-6], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 24, 1, 1)
    torch.testing.assert_close(norm(x), torch.sign(x) / 2**0.5)


@pytest.mark.parametrize(("kernel_px", "size"), [(1, 8), (2, 7), (3, 8)])
def test_a_convolution_passes_its_first_channels_on(kernel_px, size):
    torch.manual_seed(0)
    x, made = torch.randn(2, 4, 8, 8), conv(4, 6, kernel_px)
    assert made(x).shape == (2, 6, size, size) and made.bias is None
    moved = x[:, :, 1:, 1:] if kernel_px == 2 else x
    torch.testing.assert_close(made(x)[:, :4], moved)
    narrow = conv(6, 4, kernel_px)
    y = torch.randn(2, 6, 8, 8)
    torch.testing.assert_close(narrow(y), (y[:, :, 1:, 1:] if kernel_px == 2 else y)[:, :4])


def test_convolutions_pass_their_first_channels_on():
    torch.manual_seed(0)
    group = Group(4, 6, 2, "relu")
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(group.conv1(x)[:, :4], x)
    y = torch.randn(2, 6, 8, 8)
    torch.testing.assert_close(group.rest[0][0](y), y)


@pytest.mark.parametrize("convs", [1, 2, 3, 4])
def test_a_group_by_hand(convs):
    torch.manual_seed(0)
    group = Group(4, 6, convs, "silu").eval()
    for parameter in group.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, act = torch.randn(2, 4, 8, 8), nn.functional.silu
    expected = first = act(group.norm1(nn.functional.max_pool2d(group.conv1(x), 2)))
    for number in range(convs - 1):
        convolution, norm = group.rest[number]
        expected = norm(convolution(expected))
        if convs > 2 and number == convs - 2:
            expected = expected + first
        expected = act(expected)
    torch.testing.assert_close(group(x), expected)


def test_whitened_patches_are_uncorrelated(images):
    model = Sprint(10)
    model.whiten(images)
    outputs = model.stem(images)[:, :12].permute(1, 0, 2, 3).flatten(1).double()
    covariance = outputs @ outputs.T / outputs.shape[1]

    patches = [image[:, row:row + 2, column:column + 2].flatten() for image in images.double()
               for row in range(11) for column in range(11)]
    second_moments = sum(torch.outer(patch, patch) for patch in patches) / len(patches)
    variances = torch.linalg.eigvalsh(second_moments).flip(0)
    assert variances[0] / variances[-1] > 5 and variances[-1] < 10 * WHITEN_EPS
    torch.testing.assert_close(covariance, torch.diag(variances / (variances + WHITEN_EPS)), rtol=0, atol=1e-5)


def test_directions_without_variance_stay_near_zero():
    torch.manual_seed(0)
    grey = torch.randn(20, 1, 10, 10).expand(-1, 3, -1, -1)
    model = Sprint(10)
    model.whiten(grey)
    outputs = model.stem(grey)
    assert outputs[:, :4].std() > 0.9 and outputs[:, 4:12].abs().max() < 1e-2


def test_the_second_half_of_the_stem_is_the_first_negated(images):
    model = Sprint(10)
    model.whiten(images)
    assert torch.equal(model.stem.weight[12:], -model.stem.weight[:12])
    assert not model.stem.weight.requires_grad


def test_the_images_alone_decide_the_filters(images):
    filters = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = Sprint(10)
        model.whiten(images)
        filters.append(model.stem.weight)
    assert torch.equal(*filters)
    model.whiten(images.flip(0))
    torch.testing.assert_close(model.stem.weight, filters[0], rtol=1e-4, atol=1e-4)
    largest = model.stem.weight[:12].flatten(1)
    assert (largest.gather(1, largest.abs().argmax(1, keepdim=True)) > 0).all()


def eigen(matrix):
    """(values, vectors) of a symmetric matrix, in plain Python by Jacobi's rotations, the largest value first."""
    size = len(matrix)
    a, v = [list(row) for row in matrix], [[float(i == j) for j in range(size)] for i in range(size)]
    for _ in range(30):
        for p in range(size):
            for q in range(p + 1, size):
                if abs(a[p][q]) < 1e-16:
                    continue
                angle = 0.5 * math.atan2(2 * a[p][q], a[q][q] - a[p][p])
                c, s = math.cos(angle), math.sin(angle)
                for row in (*a, *v):
                    row[p], row[q] = c * row[p] - s * row[q], s * row[p] + c * row[q]
                a[p], a[q] = ([c * x - s * y for x, y in zip(a[p], a[q], strict=True)],
                              [s * x + c * y for x, y in zip(a[p], a[q], strict=True)])
    order = sorted(range(size), key=lambda k: -a[k][k])
    return [a[k][k] for k in order], [[v[i][k] for i in range(size)] for k in order]


def test_the_filters_are_the_publications_by_hand(images):
    """cifar10-airbench: eigenvectors of the patches' second moments over sqrt(eigenvalue + 5e-4), largest first."""
    patches = [[image[channel][row + dy][column + dx] for channel in range(3) for dy in (0, 1) for dx in (0, 1)]
               for image in images.double().tolist() for row in range(11) for column in range(11)]
    moments = [[sum(patch[i] * patch[j] for patch in patches) / len(patches) for j in range(12)] for i in range(12)]
    values, vectors = eigen(moments)
    assert values[-1] < 5e-3 and min(a / b for a, b in zip(values, values[1:], strict=False)) > 1.005
    expected = [[entry * math.copysign(1, max(vector, key=abs)) / math.sqrt(value + 5e-4) for entry in vector]
                for value, vector in zip(values, vectors, strict=True)]
    model = Sprint(10)
    model.whiten(images)
    torch.testing.assert_close(model.stem.weight[:12].flatten(1), torch.tensor(expected), rtol=2e-4, atol=2e-4)
    assert model.stem.bias.tolist() == [0] * 24


def test_norms_follow_the_batches_by_four_tenths_and_divide_by_the_deviation():
    """cifar10-airbench keeps 0.6 of a statistic at each batch; eps is torch's 1e-5."""
    norm = Group(4, 6, 1, "gelu").norm1
    torch.manual_seed(0)
    x = 1e-2 * torch.randn(5, 6, 3, 3) + torch.arange(6.0)[:, None, None]
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(norm(x), (x - mean[:, None, None]) / (variance + 1e-5).sqrt()[:, None, None],
                               rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norm.running_mean, 0.4 * mean)
    torch.testing.assert_close(norm.running_var, 0.6 + 0.4 * variance * 45 / 44)
    norm(x)
    torch.testing.assert_close(norm.running_mean, (0.4 + 0.6 * 0.4) * mean)


def test_one_value_through_the_whole_untrained_network_by_hand():
    """Nothing comes of an image of zeros; a bias of the stem passes all activations, norms and Dirac convolutions."""
    model = Sprint(5, widths=(24, 24, 30)).eval()
    assert torch.equal(model(torch.zeros(1, 3, 32, 32)), torch.zeros(1, 5))
    with torch.no_grad():
        model.stem.weight.zero_()
        model.stem.bias.fill_(1.0)

    def after(x):
        return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))

    # Each Dirac convolution passes the value on, each norm divides by sqrt(1 + 1e-5); seven activations in all.
    value = after(1.0)
    for _ in range(6):
        value = after(value / math.sqrt(1 + 1e-5))
    features = torch.tensor([value] * 24)
    got = model(torch.zeros(1, 3, 32, 32))[0] * 30
    rest = model.groups(model.act(model.stem(torch.zeros(1, 3, 32, 32)))).amax((2, 3))[0, 24:]
    torch.testing.assert_close(got, model.head.weight[:, :24] @ features + model.head.weight[:, 24:] @ rest)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 15}, "data.resolution=15 must be 16 px or more"),
        ({"convs": 0}, "model.convs=0 must be 1 or more"),
        ({"activation": "tanh"}, "model.activation=tanh must be one of gelu, relu, silu"),
        ({"pool": "mean"}, "model.pool=mean must be one of max, amax"),
        ({"pool": "amax"}, "model.pool=amax must be max: amax needs model.activation=relu, not gelu"),
        ({"norm_eps": 0.0}, "model.norm_eps=0.0 must be above 0"),
        ({"stem_bias": "one"}, "model.stem_bias=one must be one of zero, uniform"),
        ({"widths": (23, 64, 64)}, "model.widths=23,64,64 must be three numbers, .* at least 24"),
        ({"widths": (64, 32, 64)}, "model.widths=64,32,64 must be three numbers, none below the one before"),
        ({"widths": (64, 64)}, "model.widths=64,64 must be three numbers"),
        ({"classes": 0}, "model.classes=0 must be 1 or more"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(EngineError, match=message):
        Sprint(**{"classes": 10, **options})
