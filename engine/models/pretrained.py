"""Starting weights: a network starts with the weights of another run, except for its head.

    loaded = start_from(model, "IMAGENET1K_V2", library="torchvision", arch="resnet50")
    loaded = start_from(model, "runs/first/checkpoints/best.pt")
    print(loaded)    # 318 entries from runs/first/checkpoints/best.pt; fc starts from scratch

Every entry outside the head must fit the network by name and shape; a prefix that a wrapper added to the network's
names (module., _orig_mod., model., backbone.) is passed over, and with it what stands beside the wrapped network.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from engine.common.errors import EngineError
from engine.common.files import expand
from engine.common.text import one_line
from engine.models.weight_files import is_file_name, read

# The names of torchvision's layers when its DenseNets and vision transformers were published.
RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
# Further heads of GoogLeNet and Inception, which are built without them here.
AUXILIARY_HEADS = ("aux1", "aux2", "AuxLogits")


class Loaded(NamedTuple):
    """The number of copied tensors, their source, the modules that start from scratch, and the entries left out."""

    entries: int
    heads: tuple[str, ...]
    source: str
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        verb = "start" if self.heads[1:] else "starts"
        said = f"{self.entries} entries from {self.source}; {' and '.join(self.heads)} {verb} from scratch"
        if not self.left_out:
            return said
        shown = ", ".join(self.left_out[:3]) + (", ..." if self.left_out[3:] else "")
        return f"{said}; {len(self.left_out)} outside the network left out ({shown})"


def start_from(model: nn.Module, weights: str, *, library: str | None = None, arch: str | None = None) -> Loaded:
    """Copy `weights` into `model`, except for its head; parameters keep their device, type and memory layout.

    weights: a file, or for library "torchvision" or "timm" the name of published weights of `arch`: a member of
    torchvision's enum (IMAGENET1K_V2, DEFAULT), a timm tag (a1_in1k), or `default`. The library downloads them once, to
    its cache. The counters of batch norms may be missing. torch's generator is not used. Raises EngineError, with the
    model unchanged, for an unknown name, a file that cannot be fetched or read or holds more than tensors, and the
    first entry that does not fit.
    """
    if is_file_name(weights):
        path = expand(weights)
        return _copy_into(model, read(path), str(path))
    if library == "torchvision":
        path = _fetch_torchvision(weights, arch)
        return _copy_into(model, read(path), path.name)
    if library == "timm":
        return _copy_into(model, _fetch_timm(model, weights, arch), f"timm's {arch}, {weights}")
    raise EngineError(f"model.weights={weights} is not a file, and only networks of torchvision and timm have "
                      "published weights: give a .pt, .pth or .safetensors file")


def heads(model: nn.Module) -> tuple[str, ...]:
    """The names of the classifying modules: those that timm lists, and the last linear layer or convolution."""
    stated = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
    stated = (stated,) if isinstance(stated, str) else stated
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return tuple(dict.fromkeys((*stated, layers[-1])))


def _copy_into(model: nn.Module, entries: Mapping[str, torch.Tensor], source: str) -> Loaded:
    state, new = model.state_dict(), heads(model)
    prefix = _wrapper(entries, [name for name in state if not _beneath(name, new) and not _counts(name)], state, source)
    body = {}
    for name, tensor in entries.items():
        name = _renamed(name.removeprefix(prefix), state) if name.startswith(prefix) else ""
        if name and not _beneath(name, new) and (name in state or not _beneath(name, AUXILIARY_HEADS)):
            body[name] = tensor
    first = next((f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Conv2d)), "")
    for name in dict.fromkeys((*state, *body)):
        if _beneath(name, new) or (name not in body and _counts(name)):
            continue
        there, here = _shape(body.get(name)), _shape(state.get(name))
        if there != here:
            raise EngineError(f"model.weights={source} does not fit: {name} is {there} there and {here} here; give "
                              f"weights of the same network{' with the same model.stem' if name == first else ''}")
    state.update(body)
    model.load_state_dict(state)
    return Loaded(len(body), new, source, tuple(name for name in entries if not name.startswith(prefix)))


def _wrapper(entries: Mapping[str, torch.Tensor], wanted: Sequence[str], state: Mapping[str, torch.Tensor],
             source: str) -> str:
    """The prefix under which `entries` have the names `wanted`, or most of them."""
    found = {name[: -len(first)] for first in wanted[:1] for name in entries if f".{name}".endswith(f".{first}")}

    def count(prefix: str) -> int:
        there = {_renamed(name.removeprefix(prefix), state) for name in entries if name.startswith(prefix)}
        return len(there.intersection(wanted))

    counts = {prefix: count(prefix) for prefix in sorted({"", *found})}
    best = max(counts, key=counts.get)
    whole = [prefix for prefix in counts if counts[prefix] == len(wanted)]
    if best and whole[1:]:
        raise EngineError(f"model.weights={source} holds the network {len(whole)} times (under {', '.join(whole)}): "
                          "save one of them alone")
    return best


def _renamed(name: str, state: Mapping[str, torch.Tensor]) -> str:
    if name not in state:
        for pattern, replacement in RENAMED:
            name = pattern.sub(replacement, name)
    return name


def _counts(name: str) -> bool:
    """Whether a name is that of a batch norm's counter."""
    return name.endswith(".num_batches_tracked")


def _fetch_torchvision(name: str, arch: str) -> Path:
    # Importing torchvision takes about as long as importing torch.
    from torchvision.models import get_model_weights

    known = get_model_weights(arch)
    member = name.removeprefix(f"{known.__name__}.")
    if member not in known.__members__:
        raise _unknown(name, arch, known.__members__)
    url = known[member].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        # torchvision's file names end in the first digits of their SHA-256.
        digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), digits and digits.group(1), progress=False)
        except (OSError, HTTPException, RuntimeError) as error:
            raise EngineError(f"model.weights={name}: {path.name} cannot be fetched ({one_line(error)}); get it from "
                              f"{url} and put it into {path.parent}, or give it with --model.weights=PATH") from None
    return path


def _fetch_timm(model: nn.Module, name: str, arch: str) -> Mapping[str, torch.Tensor]:
    import timm

    tags = [full.removeprefix(f"{arch}.") for full in timm.list_pretrained(f"{arch}.*")]
    if not tags:
        raise EngineError(f"model.weights={name}: timm has no published weights for {arch}: give a file")
    if name not in ("default", *tags):
        raise _unknown(name, arch, ("default", *tags))
    tagged = arch if name == "default" else f"{arch}.{name}"
    # timm fits the position embeddings of a transformer to its image size.
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            return timm.create_model(tagged, pretrained=True, **({"img_size": size} if size else {})).state_dict()
    except Exception as error:  # the hub's HTTP client raises many kinds
        published = timm.models.get_pretrained_cfg(tagged)
        url = published.url
        if published.hf_hub_id:
            file = published.hf_hub_filename or "model.safetensors"
            url = f"https://huggingface.co/{published.hf_hub_id}/resolve/main/{file}"
        raise EngineError(f"model.weights={name}: {tagged} cannot be fetched ({one_line(error)}); get it from {url} "
                          "and give it with --model.weights=PATH") from None


def _unknown(name: str, arch: str, known: Iterable[str]) -> EngineError:
    return EngineError(f"model.weights={name} is not known; {arch} has {', '.join(known)}: name one of them, or give a "
                       "file")


def _beneath(name: str, modules: Iterable[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def _shape(tensor: torch.Tensor | None) -> str:
    return "absent" if tensor is None else "x".join(map(str, tensor.shape)) or "a scalar"
