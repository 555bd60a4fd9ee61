import pytest
import torch
from torch import nn

from engine.models.ghost_norm import slow_statistics


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("momentum", [0.1, 0.4, 1.0])
def test_a_batch_in_parts_leaves_as_much_of_the_former_statistics_as_a_whole_one(parts, momentum):
    images = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(0)) + 5
    whole, ghost = nn.BatchNorm2d(3, momentum=momentum), nn.Sequential(nn.BatchNorm2d(3, momentum=momentum))
    slow_statistics(ghost, parts)
    whole(images)
    for _ in range(parts):
        ghost(images)
    # The same images each time: each pass moves towards their statistics.
    assert torch.allclose(ghost[0].running_mean, whole.running_mean, rtol=1e-5)
    assert torch.allclose(ghost[0].running_var, whole.running_var, rtol=1e-5)


def test_cumulative_averages_stay_what_they_are():
    model = nn.Sequential(nn.BatchNorm2d(3, momentum=None), nn.Conv2d(3, 3, 1))
    slow_statistics(model, 4)
    assert model[0].momentum is None
