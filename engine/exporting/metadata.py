"""What an exported file says of itself: mean, size, class names, layout, where it comes from. Plain values.

safetensors and ONNX hold text by key: each value as JSON, text as it is. A .pt2 holds one file METADATA_FILE.
"""

import json
from collections.abc import Mapping, Sequence

from engine.common.errors import EngineError

METADATA_FILE = "metadata.json"
PIXELS_IN = "uint8 (batch, side_px, side_px, 3), RGB 0..255; the normalisation is inside"
NORMALISED_IN = "float32 (batch, 3, side_px, side_px), (RGB / 255 - mean) / std a channel"
OUTPUT = "float32 (batch, classes), logits; softmax makes them probabilities"
TEXTS = ("made_by", "input", "output", "recipe", "dataset", "model", "policy")
KEYS = (*TEXTS, "class_names", "side_px", "mean", "std", "epoch", "settings", "pruned")


def describe(input_layout: str, *, recipe: str, dataset: str, model: str, policy: str, class_names: Sequence[str],
             side_px: int, mean: Sequence[float], std: Sequence[float], epoch: int, settings: Mapping[str, object],
             pruned: Mapping[str, object] | None) -> dict[str, object]:
    """All KEYS. settings: the recipe's values, with which the network can be built; pruned: how, None for not."""
    return {"made_by": "Cadence", "input": input_layout, "output": OUTPUT, "recipe": recipe, "dataset": dataset,
            "model": model, "policy": policy, "class_names": list(class_names), "side_px": side_px, "mean": list(mean),
            "std": list(std), "epoch": epoch, "settings": dict(settings), "pruned": dict(pruned) if pruned else None}


def as_texts(metadata: Mapping[str, object]) -> dict[str, str]:
    """Key to text, for formats that hold nothing else."""
    return {key: value if key in TEXTS else json.dumps(value) for key, value in metadata.items()}


def from_texts(texts: Mapping[str, str], name: str) -> dict[str, object]:
    """What `as_texts` was given; EngineError, naming the file by `name`, where it is not all there."""
    missing = [key for key in KEYS if key not in texts]
    if missing:
        raise EngineError(f"{name} was not exported by Cadence, its metadata has no {missing[0]}: give a file that "
                          "`python -m engine.export` wrote")
    try:
        return {key: texts[key] if key in TEXTS else json.loads(texts[key]) for key in KEYS}
    except ValueError:
        raise EngineError(f"{name}: its metadata is damaged: export the network again") from None
