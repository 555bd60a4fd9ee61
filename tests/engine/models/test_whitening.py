"""Where the bias of the whitening stem starts."""

import pytest
import torch

from engine.models.sprint import Sprint
from engine.models.whitening import WhiteningStem


def test_the_bias_starts_at_zero_or_as_torchs_convolutions_do():
    assert not WhiteningStem().bias.any()
    torch.manual_seed(0)
    drawn = torch.stack([WhiteningStem("uniform").bias.detach() for _ in range(500)])
    limit = 12**-0.5
    assert drawn.abs().max() <= limit and drawn.max() > 0.99 * limit and drawn.min() < -0.99 * limit
    assert abs(drawn.mean()) < 0.01 and abs(drawn.std() - limit / 3**0.5) < 0.005
    assert WhiteningStem("uniform").bias.requires_grad


@pytest.mark.parametrize("bias", ["zero", "uniform"])
def test_the_start_of_the_bias_changes_no_other_weight(bias):
    torch.manual_seed(3)
    plain = {name: tensor.clone() for name, tensor in Sprint(10, widths=(24, 24, 24)).state_dict().items()}
    torch.manual_seed(3)
    other = Sprint(10, widths=(24, 24, 24), stem_bias=bias).state_dict()
    same = {name for name, tensor in plain.items() if torch.equal(tensor, other[name])}
    assert plain.keys() - same == ({"stem.bias"} if bias == "uniform" else set())
