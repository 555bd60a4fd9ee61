"""An exported file's metadata, as plain values: mean, size, class names, layout, origin.

safetensors and ONNX files hold a text per key: strings unchanged, other values as JSON. A .pt2 holds METADATA_FILE.
"""

import json
from collections.abc import Mapping

from engine.common.errors import EngineError
from engine.inference.trained import Trained
from engine.storage.shared_folder import public_values

METADATA_FILE = "metadata.json"
PIXELS_IN = "uint8 (batch, side_px, side_px, 3), RGB 0..255; the normalisation is inside"
NORMALISED_IN = "float32 (batch, 3, side_px, side_px), (RGB / 255 - mean) / std per channel"
TEXTS = ("made_by", "input", "output", "recipe", "dataset", "model", "policy")
KEYS = (*TEXTS, "class_names", "side_px", "mean", "std", "epoch", "settings", "pruned")


def describe(trained: Trained, input_layout: str, pruned: Mapping[str, object] | None) -> dict[str, object]:
    """All KEYS. settings: the recipe's values, which rebuild the network; pruned: how, or None."""
    recipe, data = trained.recipe, trained.recipe.section("data")
    return {"made_by": "Cadence", "input": input_layout,
            "output": "float32 (batch, classes), logits; softmax makes them probabilities",
            "recipe": recipe.name, "dataset": data.name, "model": recipe.get("model.arch", recipe.get("model.name")),
            "policy": recipe.get("augment.policy"), "class_names": list(trained.class_names),
            "side_px": trained.side_px, "mean": list(data.mean), "std": list(data.std), "epoch": trained.epoch,
            "settings": public_values(recipe), "pruned": pruned}


def as_texts(metadata: Mapping[str, object]) -> dict[str, str]:
    """Key -> text, for formats that hold only text."""
    return {key: value if key in TEXTS else json.dumps(value) for key, value in metadata.items()}


def from_texts(texts: Mapping[str, str], name: str) -> dict[str, object]:
    """The inverse of `as_texts`; EngineError, naming the file by `name`, if keys are missing or damaged."""
    try:
        return {key: texts[key] if key in TEXTS else json.loads(texts[key]) for key in KEYS}
    except KeyError as missing:
        raise EngineError(f"{name} was not exported by Cadence (its metadata has no {missing.args[0]}): give a "
                          "file that `python -m engine.export` wrote") from None
    except ValueError:
        raise EngineError(f"{name}: its metadata is damaged: export the network again") from None
