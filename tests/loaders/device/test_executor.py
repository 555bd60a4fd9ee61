"""The device executor: every operation equals plain Python and the host; a call is one graph and can be captured."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.common import counter_rng
from loaders.common.errors import DataError
from loaders.device import covers
from loaders.device.draws import Draws, below, below_low, child, fraction, mix
from loaders.device.executor import DevicePolicy, bytes_per_sample, keys_of, working_bytes
from loaders.policy.named_policies import POLICIES
from loaders.policy.passes import Gate
from loaders.policy.policy import parse
from tests.loaders.images import CIFAR_SIZED, EACH, MEAN_RGB, SMALL, images, in_python, on_host
from tests.loaders.reference_values import below as below_in_python
from tests.loaders.reference_values import below_low as below_low_in_python

TRAINING = ["baseline", "cnn4", "resnet34", "airbench"]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def made(text, images_nhwc, device="cpu", **options):
    policy = parse(text, *images_nhwc.shape[1:3])
    return DevicePolicy(policy, mean_rgb=MEAN_RGB, device=device, **options)


def on_device(text, images_nhwc, indices, seed=3, epoch=7, device="cpu", **options):
    """The batch of `indices` by the device executor, as a tensor on the CPU."""
    source, indices = torch.from_numpy(images_nhwc).to(device), torch.as_tensor(np.asarray(indices, np.int64))
    augment = made(text, images_nhwc, device, **options)
    return augment(source, indices.to(device), keys_of(seed, epoch, device)).cpu()


@pytest.mark.parametrize("word", [0, 1, 2**31, 2**32 - 1, 2**62 + 5, 2**63 - 1, 2**63, 2**63 + 12345, 2**64 - 1])
def test_draws_are_the_hosts_on_both_sides_of_the_sign(word):
    signed = torch.tensor([word - (1 << 64) if word >> 63 else word])
    unsigned = [int(x) & counter_rng.MASK for x in (mix(signed), child(signed, torch.tensor([6])))]
    assert unsigned == [counter_rng.mix(word), counter_rng.child(word, 6)]
    for n in (1, 7, 24, 2**31 - 1):
        assert int(below(signed, n)) == below_in_python(word, n)
        assert int(below_low(signed, n)) == below_low_in_python(word, n)
    assert int(fraction(signed)) == word >> 40


def test_gates_are_open_from_low_up_to_but_not_at_high():
    samples = Draws(keys_of(0, 0, "cpu"), torch.arange(5), 16, torch.arange(16))
    samples.words[:, 15] = torch.tensor([9, 10, 11, 19, 20]) << 40
    assert samples.open(Gate(15, 10, 20)).tolist() == [False, True, True, True, False]


def test_a_side_that_ends_in_one_half_is_rounded_up():
    halves = torch.tensor([(2 * k - 1) ** 2 << 30 for k in (1, 2, 8)])
    assert covers._rounded_root(halves, 9).tolist() == [1, 2, 8]
    assert covers._rounded_root(halves - 1, 9).tolist() == [0, 1, 7]
    assert covers._rounded_root(halves << 12, 9).tolist() == [9, 9, 9]


@pytest.mark.parametrize("text", EACH)
def test_each_operation_equals_the_host_and_plain_python(text):
    got = on_device(text, SMALL, range(24)).numpy()
    np.testing.assert_array_equal(got, on_host(text, SMALL, range(24)))
    for k in range(4):
        np.testing.assert_array_equal(got[k], in_python(text, SMALL, k), err_msg=f"{text}, sample {k}")


@pytest.mark.parametrize("name", POLICIES)
def test_named_policies_equal_the_host_in_every_epoch(name):
    count = 4 if name == "resnet50" else 16
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (2**63 - 1, 2**31 - 1)):
        np.testing.assert_array_equal(on_device(name, CIFAR_SIZED, range(count), seed, epoch).numpy(),
                                      on_host(name, CIFAR_SIZED, range(count), seed, epoch))


@needs_cuda
def test_a_gpu_gives_the_same_pixels():
    """Equal, but a GPU's sines may differ in the last bit, and then a pixel of an affine by one grey level."""
    for text in (*EACH, *POLICIES):
        got = on_device(text, CIFAR_SIZED, range(16), device="cuda").numpy()
        apart = np.abs(got.astype(int) - on_host(text, CIFAR_SIZED, range(16)))
        turned = any(op.opcode == "affine" for pass_ in parse(text).passes for op in pass_.ops)
        assert apart.max() <= turned and (apart > 0).mean() < 1e-5, text


@pytest.mark.slow("plain Python at 224 px")
def test_at_224_px_one_sampling_equals_plain_python():
    np.testing.assert_array_equal(on_device("resnet50", CIFAR_SIZED, [15])[0].numpy(),
                                  in_python("resnet50", CIFAR_SIZED, 15))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.tuples(st.integers(4, 41), st.integers(4, 41)), st.sampled_from(EACH), st.integers(0, 2**63 - 1),
       st.integers(0, 1000))
def test_any_shape_and_seed_equals_the_host(shape, text, seed, epoch):
    images_nhwc = images(8, *shape, seed=seed % 1000)
    try:
        expected = on_host(text, images_nhwc, range(8), seed, epoch)
    except DataError:
        return  # an operation too large for this size
    np.testing.assert_array_equal(on_device(text, images_nhwc, range(8), seed, epoch).numpy(), expected)


def test_odd_shapes_keep_height_and_width_apart():
    tall = images(8, 40, 24)
    for text in ("resnet34", "trivial_wide()", "erase(p=1), crop(pad_px=5), noise(sigma=.1)", "resize(px=48), flip()"):
        np.testing.assert_array_equal(on_device(text, tall, range(8)).numpy(), on_host(text, tall, range(8)))


EVERYTHING = ("rand_augment(n=3), crop(pad_px=3), jitter(hue=.1, contrast=.3), noise(sigma=.1), erase(), blur("
              "kernel_px=3, sigma=1), coarse_dropout(hole_px=4, holes=(1, 3), fill=noise), affine(rotate_deg=9)")


@pytest.mark.parametrize("text", [EVERYTHING, "airbench", "resize(px=48), perspective(), erase(fill=noise)"])
def test_a_sample_does_not_depend_on_its_batch(text):
    whole = on_device(text, CIFAR_SIZED, range(8))
    shuffled = np.random.default_rng(0).permutation(8)
    assert torch.equal(on_device(text, CIFAR_SIZED, shuffled), whole[shuffled])
    assert torch.equal(on_device(text, CIFAR_SIZED, range(8), chunk=3), whole)
    assert torch.equal(on_device(text, CIFAR_SIZED, [5, 5, 2]), whole[[5, 5, 2]])
    for k in range(8):
        assert torch.equal(on_device(text, CIFAR_SIZED, [k])[0], whole[k])


def test_seed_epoch_and_policy_change_the_pixels():
    base = on_device(EVERYTHING, CIFAR_SIZED, range(4))
    for other in (on_device(EVERYTHING, CIFAR_SIZED, range(4), seed=4),
                  on_device(EVERYTHING, CIFAR_SIZED, range(4), epoch=8),
                  on_device(EVERYTHING + ", flip(p=.9)", CIFAR_SIZED, range(4))):
        assert not torch.equal(base, other)


def test_alternating_flip_shows_both_sides_in_two_epochs():
    even, odd = (on_device("flip_alternate()", CIFAR_SIZED, range(16), epoch=epoch) for epoch in (0, 1))
    assert torch.equal(even, odd.flip(2))


def test_no_global_generator_is_used_and_no_result_is_overwritten():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    augment, source = made("none", CIFAR_SIZED), torch.from_numpy(CIFAR_SIZED.copy())
    first = augment(source, torch.arange(16), keys_of(0, 0, "cpu"))
    source.zero_()
    assert torch.equal(first, torch.from_numpy(CIFAR_SIZED))
    on_device(EVERYTHING, CIFAR_SIZED, range(16))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow("compiles")
@pytest.mark.parametrize("name", TRAINING)
def test_it_compiles_whole_and_once_for_all_epochs(name):
    torch.compiler.reset()
    compiled = []
    augment, source = made(name, CIFAR_SIZED), torch.from_numpy(CIFAR_SIZED)

    def counted(graph, inputs):
        compiled.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    fast = torch.compile(augment, fullgraph=True, backend=counted)
    for epoch in range(3):
        indices, keys = torch.from_numpy(np.random.default_rng(epoch).permutation(16)), keys_of(1, epoch, "cpu")
        got, expected = fast(source, indices, keys), augment(source, indices, keys)
        assert torch.equal(got, expected) and got.stride() == expected.stride()
    assert len(compiled) == 1
    last = source, torch.arange(9), keys
    assert torch.equal(fast(*last), augment(*last)) and len(compiled) == 2


@pytest.mark.slow("compiles C++")
def test_inductors_code_gives_the_same_pixels():
    torch.compiler.reset()
    augment, source = made("crop(pad_px=4), flip(), erase(p=1)", CIFAR_SIZED), torch.from_numpy(CIFAR_SIZED)
    fast = torch.compile(augment, fullgraph=True)
    for epoch in range(2):
        arguments = source, torch.arange(15, -1, -1), keys_of(1, epoch, "cpu")
        assert torch.equal(fast(*arguments), augment(*arguments))


@needs_cuda
@pytest.mark.parametrize("name", [*TRAINING, EVERYTHING, "resnet50"])
def test_a_cuda_graph_serves_every_epoch(name):
    augment, source = made(name, CIFAR_SIZED, "cuda"), torch.from_numpy(CIFAR_SIZED).cuda()
    indices, keys = torch.arange(16, device="cuda"), keys_of(0, 0, "cuda")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        augment(source, indices, keys)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = augment(source, indices, keys)
    for epoch in range(3):
        keys.copy_(keys_of(5, epoch, "cuda"))
        indices.copy_(indices.flip(0))
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(captured.cpu(), on_device(name, CIFAR_SIZED, indices.cpu().numpy(), 5, epoch))


@needs_cuda
def test_nothing_waits_for_the_device():
    augment, source = made(EVERYTHING, CIFAR_SIZED, "cuda"), torch.from_numpy(CIFAR_SIZED).cuda()
    indices, keys = torch.arange(16, device="cuda"), keys_of(0, 0, "cuda")
    augment(source, indices, keys)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment(source, indices, keys)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_nothing_looks_at_the_data():
    """Meta tensors pass, so neither the host nor a capture ever waits for data."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    augment = made(EVERYTHING, CIFAR_SIZED)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        source, indices, keys = (mode.from_tensor(x) for x in (torch.from_numpy(CIFAR_SIZED), torch.arange(7),
                                                               keys_of(0, 0, "cpu")))
        assert augment(source, indices, keys).shape == (7, 32, 32, 3)


def test_an_empty_batch_is_empty():
    assert on_device(EVERYTHING, CIFAR_SIZED, []).shape == (0, 32, 32, 3)


def test_the_default_chunk_follows_from_the_size_and_bounds_the_memory():
    chunks = {name: made(name, CIFAR_SIZED).chunk for name in ("baseline", "resnet50")}
    assert chunks["baseline"] == 49 * chunks["resnet50"] + chunks["baseline"] % 49
    assert chunks["resnet50"] * bytes_per_sample(parse("resnet50")) <= working_bytes("cpu")


def test_it_has_no_parameters_and_no_saved_state():
    augment = made(EVERYTHING, CIFAR_SIZED)
    assert not augment.state_dict() and not list(augment.parameters())


def test_an_empty_chunk_is_refused():
    with pytest.raises(DataError, match="chunk=0: it is a number of samples, 1 or more"):
        made("baseline", CIFAR_SIZED, chunk=0)


def test_colours_are_checked():
    for colours in ((0, 0, 256), (0, 0), (-1, 0, 0)):
        with pytest.raises(DataError, match="it must be three integers from 0 to 255"):
            DevicePolicy(parse("baseline"), mean_rgb=colours, device="cpu")


def test_images_of_another_size_or_type_are_refused():
    augment, arguments = made("baseline", CIFAR_SIZED), (torch.arange(2), keys_of(0, 0, "cpu"))
    for source in (torch.zeros(2, 16, 32, 3, dtype=torch.uint8), torch.zeros(2, 32, 32, 3)):
        with pytest.raises(DataError, match=r"this policy was made for uint8 \(N, 32, 32, 3\)"):
            augment(source, *arguments)
