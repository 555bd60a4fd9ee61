"""The network with its normalisation inside, and its capture by torch.export."""

import logging
import warnings

import pytest
import torch
from torch import nn

from engine.common.errors import EngineError
from engine.exporting.portable import quiet, to_program
from tests.engine.exporting.networks import SIDE_PX, expected, images, portable


def test_pixels_are_normalised_inside():
    torch.testing.assert_close(portable()(images(5)), expected(images(5)), atol=1e-5, rtol=1e-5)


def test_a_network_that_decides_by_its_data_is_refused_by_name():
    class Deciding(nn.Module):
        def forward(self, images_bhwc):
            return images_bhwc.float() if images_bhwc.sum() > 0 else -images_bhwc.float()

    with pytest.raises(EngineError, match="model.name=odd cannot be exported: torch.export says") as refused:
        to_program(Deciding(), SIDE_PX, "model.name=odd")
    assert "\n" not in str(refused.value)


def test_quiet_hides_warnings_and_gives_them_back(recwarn, caplog):
    with quiet():
        warnings.warn("hidden", stacklevel=1)
        logging.getLogger("torch.some").warning("hidden")
    warnings.warn("seen", stacklevel=1)
    logging.getLogger("torch.some").warning("seen")
    assert [str(each.message) for each in recwarn] == ["seen"]
    assert [each.getMessage() for each in caplog.records] == ["seen"]
