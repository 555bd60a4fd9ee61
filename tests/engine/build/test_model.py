"""The network that training starts with: which images a whitening stem is fitted to."""

import numpy as np
import pytest
import torch

from engine.build import model
from engine.training.forward import ToInput
from recipes.settings.load import load


@pytest.mark.parametrize("count", [300, 5001])
def test_a_stem_is_whitened_by_the_first_5000_training_images_as_they_are(count, monkeypatch):
    """5,000 as in cifar10-airbench; in the order of the indices, normalised, without augmentation."""
    asked, given, beton = [], [], object()

    def read(of, indices):
        asked.append((of, indices))
        return np.broadcast_to((indices % 256).astype(np.uint8)[:, None, None, None], (len(indices), 4, 4, 3)).copy()

    monkeypatch.setattr(model, "read_images", read)
    monkeypatch.setattr("engine.models.sprint.Sprint.whiten", lambda self, images: given.append(images))
    recipe = load("sprint10", settings={"data.root": ".", "model.widths": (24, 24, 24)})
    to_input = ToInput((0.5, 0.25, 0.0), (0.5, 1.0, 0.25), torch.device("cpu"))
    indices = np.arange(count)[::-1] * 3
    model.starting_model(recipe, 10, beton, indices, to_input)
    [(of, read_indices)], [images] = asked, given
    assert of is beton and read_indices.tolist() == indices[:5000].tolist()
    shares = torch.from_numpy(indices[:5000] % 256) / 255
    expected = torch.stack([(shares - 0.5) / 0.5, shares - 0.25, shares / 0.25], 1)
    torch.testing.assert_close(images, expected[:, :, None, None].expand(-1, -1, 4, 4).float(), rtol=1e-5, atol=1e-6)
