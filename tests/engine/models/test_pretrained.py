"""A network starts with the weights of another training except for its head, or is refused in one line."""

import re
import types
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from engine.common.errors import EngineError
from engine.models.pretrained import heads, start_from
from engine.models.registry import build
from engine.models.torchvision_timm import from_timm, from_torchvision
from engine.storage import checkpoint
from tests.engine.blank import BLANK

SHUFFLENET = "shufflenetv2_x0.5-f707e7126e.pth"


def pair(name="cnn", classes=(5, 7), **options):
    """Two networks with different weights and numbers of classes."""
    torch.manual_seed(1)
    other = build(name, classes[0], **options)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    return other, build(name, classes[1], **options)


def copies(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def check_body_copied_and_head_kept(model, before, source, head):
    after = model.state_dict()
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name] if name.startswith(head + ".") else source[name]), name
    assert any(name.startswith(head + ".") for name in after)


def refused(model, weights, **where):
    before = copies(model)
    with pytest.raises(EngineError) as caught:
        start_from(model, str(weights), **where)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "head"),
    [
        ("baseline", {}, "head.4"),
        ("cnn", {"width": 4}, "head.3"),
        ("cnn4", {}, "head.6"),
        ("resnet34", {"blocks": (1, 1, 1, 1), "width": 4}, "fc"),
        ("sprint", {"widths": (24, 24, 24)}, "head"),
        ("sprint_pairs", {"widths": (24, 24, 24), "inner": (8, 8, 8)}, "head"),
        ("torchvision", {"arch": "shufflenet_v2_x0_5"}, "fc"),
        ("torchvision", {"arch": "squeezenet1_1"}, "classifier.1"),
    ],
)
@pytest.mark.parametrize("classes", [(5, 7), (6, 6)])
def test_all_but_the_head_is_copied(tmp_path, name, options, head, classes):
    other, model = pair(name, classes, **options)
    torch.save(other.state_dict(), tmp_path / "a.pth")
    before = copies(model)
    loaded = start_from(model, str(tmp_path / "a.pth"))
    check_body_copied_and_head_kept(model, before, other.state_dict(), head)
    mine = [key for key in before if not key.startswith(head + ".")]
    assert (loaded.entries, loaded.heads, loaded.source) == (len(mine), (head,), str(tmp_path / "a.pth"))
    assert str(loaded) == f"{len(mine)} entries from {tmp_path}/a.pth; {head} starts from scratch"


def test_a_run_s_checkpoint(tmp_path):
    other, model = pair(width=4)
    before = copies(model)
    checkpoint.save(tmp_path / "best.pt", BLANK | {"model": other.state_dict()})
    start_from(model, str(tmp_path / "best.pt"))
    check_body_copied_and_head_kept(model, before, other.state_dict(), "head.3")


def under(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "backbone.", "net.",
                                    "module.model."])
@pytest.mark.parametrize(("name", "options"), [("cnn", {"width": 4}), ("torchvision", {"arch": "shufflenet_v2_x0_5"})])
def test_a_wrappers_prefix_is_passed_over(tmp_path, prefix, name, options):
    other, model = pair(name, **options)
    before, head = copies(model), heads(model)[0]
    torch.save({"net": under(prefix, other.state_dict()), "acc": 90.0}, tmp_path / "a.pth")
    loaded = start_from(model, str(tmp_path / "a.pth"))
    check_body_copied_and_head_kept(model, before, other.state_dict(), head)
    assert loaded.left_out == ()


def test_what_stands_beside_a_wrapped_network_is_left_out_and_told(tmp_path):
    other, model = pair(width=4)
    before = copies(model)
    body = {name: tensor for name, tensor in other.state_dict().items() if not name.startswith("head.")}
    beside = {f"projector.{number}.weight": torch.ones(2) for number in range(4)}
    torch.save({"state_dict": {**beside, **under("backbone.", body)}}, tmp_path / "a.ckpt")
    loaded = start_from(model, str(tmp_path / "a.ckpt"))
    check_body_copied_and_head_kept(model, before, other.state_dict(), "head.3")
    assert str(loaded).endswith("head.3 starts from scratch; 4 outside the network left out (projector.0.weight, "
                                "projector.1.weight, projector.2.weight, ...)")


def test_a_wrapped_network_that_does_not_fit_is_refused_and_so_are_two(tmp_path):
    other, model = pair(width=4)
    path = tmp_path / "a.pt"
    torch.save(under("model.", {**other.state_dict(), "extra.weight": torch.ones(3)}), path)
    assert "extra.weight is 3 there and absent here" in refused(model, path)
    short = {name: tensor for name, tensor in other.state_dict().items() if not name.startswith("features.4.")}
    torch.save(under("model.", short), path)
    assert "features.4.weight is absent there and 4 here" in refused(model, path)
    torch.save({**under("student.", other.state_dict()), **under("teacher.", other.state_dict())}, path)
    assert refused(model, path) == (f"model.weights={path} holds the network 2 times (under student., teacher.): save "
                                    "one of them alone")
    # As it stands the file has no wrapper, and what is beside the network is refused.
    torch.save({**other.state_dict(), **under("average.", other.state_dict())}, path)
    assert "average.features.0.weight is 4x3x3x3 there and absent here" in refused(model, path)


def test_a_file_may_lack_the_head_and_the_counters_of_norms(tmp_path):
    other, model = pair(width=4)
    body = {name: tensor for name, tensor in other.state_dict().items()
            if not name.startswith("head.") and not name.endswith("num_batches_tracked")}
    torch.save(body, tmp_path / "a.pt")
    assert start_from(model, str(tmp_path / "a.pt")).entries == len(body)
    assert torch.equal(model.features[0].weight, other.features[0].weight)
    assert model.features[1].num_batches_tracked == 0


def test_memory_layout_type_and_requires_grad_stay(tmp_path):
    other, model = pair("sprint", widths=(24, 24, 24))
    torch.save(other.half().state_dict(), tmp_path / "a.pt")
    model = model.to(memory_format=torch.channels_last)
    start_from(model, str(tmp_path / "a.pt"))
    weight = model.groups[0].conv1.weight
    assert weight.dtype == torch.float32 and weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(weight, other.groups[0].conv1.weight.float())
    assert not model.stem.weight.requires_grad and weight.requires_grad


def test_the_first_difference_is_named(tmp_path):
    model = build("cnn", 7, width=4)
    path = tmp_path / "a.pt"

    def saved(**changes):
        state = {**model.state_dict(), **{key.replace("__", "."): value for key, value in changes.items()}}
        torch.save({name: tensor for name, tensor in state.items() if tensor is not None}, path)
        return refused(model, path)

    wider = saved(features__3__weight=torch.ones(9, 4, 3, 3), features__4__bias=torch.ones(2))
    assert wider == (f"model.weights={path} does not fit: features.3.weight is 9x4x3x3 there and 4x4x3x3 here; give "
                     "weights of the same network")
    assert "features.4.running_var is absent there and 4 here" in saved(features__4__running_var=None)
    assert "extra.weight is 3 there and absent here" in saved(extra__weight=torch.ones(3))
    assert "head.9.weight is 2x2 there and absent here" in saved(head__9__weight=torch.ones(2, 2))


def test_another_stem_is_named(tmp_path):
    own, small = (from_torchvision(5, arch="squeezenet1_0", stem=stem) for stem in ("own", "small"))
    torch.save(own.state_dict(), tmp_path / "a.pt")
    message = refused(small, tmp_path / "a.pt")
    assert "features.0.weight is 96x3x7x7 there and 96x3x3x3 here; " in message
    assert message.endswith("with the same model.stem")


def test_torchvision_s_older_names(tmp_path):
    dense = torchvision.models.DenseNet(growth_rate=4, block_config=(1, 1), num_init_features=8, num_classes=5)
    vit = torchvision.models.VisionTransformer(8, 4, 1, 1, 8, 16, num_classes=5)
    for model, renames in (
        (dense, {".norm1.": ".norm.1.", ".norm2.": ".norm.2.", ".conv1.": ".conv.1.", ".conv2.": ".conv.2."}),
        (vit, {".mlp.0.": ".mlp.linear_1.", ".mlp.3.": ".mlp.linear_2."}),
    ):
        expected = {name: torch.randn_like(t, dtype=torch.float32) for name, t in model.state_dict().items()}
        older = {}
        for name, tensor in expected.items():
            for new, old in renames.items():
                name = name.replace(new, old) if "denselayer" in name or model is vit else name
            older[name] = tensor
        assert len(set(older) - set(expected)) == (24 if model is dense else 4)
        torch.save({name: t.long() if "num_batches" in name else t for name, t in older.items()}, tmp_path / "a.pth")
        start_from(model, str(tmp_path / "a.pth"))
        head = heads(model)[0]
        assert all(torch.equal(t, expected[name]) for name, t in model.named_parameters() if not name.startswith(head))


def test_auxiliary_heads_in_a_file_are_left_out(tmp_path):
    with torch.device("meta"):
        names = torchvision.models.googlenet(weights=None, init_weights=False).state_dict()
        model = from_torchvision(5, 224, arch="googlenet")
    model, extra = model.to_empty(device="cpu"), [name for name in names if name.startswith("aux")]
    torch.save({name: torch.zeros(()).expand(t.shape) for name, t in names.items()}, tmp_path / "a.pth")
    assert extra and start_from(model, str(tmp_path / "a.pth")).entries == len(names) - len(extra) - 2


def test_names_without_a_library_are_refused():
    message = refused(build("cnn", 7), "IMAGENET1K_V2", library="cnn")
    assert "model.weights=IMAGENET1K_V2 is not a file, and only networks of torchvision and timm" in message


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch's folder of downloaded weights; fetching fails."""
    def fail(url, file, *_, **__):
        raise URLError("no\nroute")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def shufflenet():
    return from_torchvision(7, arch="shufflenet_v2_x0_5")


def shufflenet_start(model, name):
    return start_from(model, name, library="torchvision", arch="shufflenet_v2_x0_5")


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "DEFAULT", "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"])
def test_published_weights_in_the_cache(cache, shufflenet, name):
    torch.manual_seed(5)
    published = torchvision.models.shufflenet_v2_x0_5().state_dict()
    cache.mkdir(parents=True)
    torch.save(published, cache / SHUFFLENET)
    before = copies(shufflenet)
    assert shufflenet_start(shufflenet, name).source == SHUFFLENET
    check_body_copied_and_head_kept(shufflenet, before, published, "fc")


def test_published_weights_are_fetched_once_and_checked(cache, shufflenet, monkeypatch):
    calls = []

    def fetch(url, file, hash_prefix, progress):
        calls.append((url, file, hash_prefix, progress))
        torch.save(torchvision.models.shufflenet_v2_x0_5().state_dict(), file)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    for _ in range(2):
        shufflenet_start(shufflenet, "DEFAULT")
    url = torchvision.models.ShuffleNet_V2_X0_5_Weights.DEFAULT.url
    assert calls == [(url, str(cache / SHUFFLENET), "f707e7126e", False)]


def test_a_download_that_fails_says_what_to_fetch_and_where_to_put_it(cache, shufflenet):
    message = refused(shufflenet, "IMAGENET1K_V1", library="torchvision", arch="shufflenet_v2_x0_5")
    url = torchvision.models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.url
    assert message == (f"model.weights=IMAGENET1K_V1: {SHUFFLENET} cannot be fetched (<urlopen error no route>); get "
                       f"it from {url} and put it into {cache}, or give it with --model.weights=PATH")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("invalid hash value")])
def test_other_failures_of_a_download(cache, shufflenet, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    assert str(error) in refused(shufflenet, "DEFAULT", library="torchvision", arch="shufflenet_v2_x0_5")


def test_a_damaged_file_among_the_downloads_is_named(cache, shufflenet):
    cache.mkdir(parents=True)
    (cache / SHUFFLENET).write_bytes(b"half of it")
    message = refused(shufflenet, "DEFAULT", library="torchvision", arch="shufflenet_v2_x0_5")
    assert str(cache / SHUFFLENET) in message and "damaged" in message


def test_unknown_published_weights_list_the_known(shufflenet):
    message = refused(shufflenet, "IMAGENET1K_V9", library="torchvision", arch="shufflenet_v2_x0_5")
    assert message.startswith("model.weights=IMAGENET1K_V9 is not known; shufflenet_v2_x0_5 has IMAGENET1K_V1, DEFAULT")


def test_every_published_file_of_torchvision_names_its_hash():
    names = torchvision.models.list_models(module=torchvision.models)
    files = [w.url.rpartition("/")[2] for name in names for w in torchvision.models.get_model_weights(name)]
    assert len(files) > 80 and all(re.search(r"-[0-9a-f]{8,64}\.pth$", file) for file in files)


@pytest.fixture
def timm():
    return pytest.importorskip("timm")


def test_heads_that_timm_names(timm):
    with torch.device("meta"):
        assert heads(from_timm(7, 224, arch="test_efficientnet")) == ("classifier",)
        assert heads(from_timm(7, 224, arch="resnetv2_18")) == ("head.fc",)
        assert heads(from_timm(7, 224, arch="efficientformer_l1")) == ("head", "head_dist")


@pytest.mark.parametrize(("name", "created"), [("r160_in1k", "test_vit.r160_in1k"), ("default", "test_vit")])
def test_timm_s_published_weights(timm, monkeypatch, name, created):
    real, calls = timm.create_model, []

    def create(tagged, pretrained, **options):
        calls.append((tagged, pretrained, options))
        model = real("test_vit", **options)
        calls.append(model.state_dict())
        return model

    model = from_timm(7, 48, arch="test_vit")
    before, drawn = copies(model), torch.get_rng_state()
    monkeypatch.setattr(timm, "create_model", create)
    loaded = start_from(model, name, library="timm", arch="test_vit")
    assert calls[0] == (created, True, {"img_size": (48, 48)})
    check_body_copied_and_head_kept(model, before, calls[1], "head")
    assert torch.equal(torch.get_rng_state(), drawn)
    assert str(loaded).endswith(f"entries from timm's test_vit, {name}; head starts from scratch")


def test_timm_s_download_that_fails(timm, monkeypatch):
    class NoRoute(Exception):
        pass

    def fail(*_, **__):
        raise NoRoute("no\nroute")

    model = from_timm(7, arch="test_resnet")
    monkeypatch.setattr(timm, "create_model", fail)
    message = refused(model, "r160_in1k", library="timm", arch="test_resnet")
    assert message == ("model.weights=r160_in1k: test_resnet.r160_in1k cannot be fetched (no route); get it from "
                       "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors and give it "
                       "with --model.weights=PATH")


def test_unknown_tags_of_timm_list_the_known(timm, monkeypatch):
    model = types.SimpleNamespace(state_dict=dict)
    message = refused(model, "r161", library="timm", arch="test_resnet")
    assert message.startswith("model.weights=r161 is not known; test_resnet has default, r160_in1k: name one")
    monkeypatch.setattr(timm, "list_pretrained", lambda _: [])
    assert "timm has no published weights for test_resnet" in refused(
        model, "default", library="timm", arch="test_resnet")
