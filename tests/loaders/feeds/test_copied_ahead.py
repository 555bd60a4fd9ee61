"""The copies of a stream's batches to a GPU, with streams and events that a test controls."""

from types import SimpleNamespace

import pytest
import torch

from loaders.feeds.stream import Batch, copied_ahead

META = torch.device("meta")


class Side:
    """Copies that are done when their event has been waited for."""

    def __init__(self):
        self.pending, self.done = [], 0


@pytest.fixture
def side(monkeypatch):
    state = Side()

    class Event:
        def record(self, stream):
            self.number = len(state.pending)
            state.pending.append(self)

        def synchronize(self):
            state.done = max(state.done, self.number + 1)

    class Entered:
        def __init__(self, stream):
            pass

        def __enter__(self):
            pass

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: SimpleNamespace())
    monkeypatch.setattr(torch.cuda, "stream", Entered)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(wait_stream=lambda other: None))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    return state


def test_a_host_batch_is_held_until_it_is_copied_and_indices_stay(side):
    alive, lost = [], []

    class Watched(torch.Tensor):
        """Notes when nobody holds it any more, and whether its copy was done by then."""

        def __del__(self):
            if hasattr(self, "number"):
                alive.remove(self.number)
                if side.done <= self.number:
                    lost.append(self.number)

    def batches():
        for number in range(5):
            images = torch.zeros(2, 4, 4, 3, dtype=torch.uint8).as_subclass(Watched)
            images.number = number
            alive.append(number)
            yield Batch(images, torch.zeros(2, dtype=torch.int64), torch.full((2,), number))
            del images

    taken = []
    for batch in copied_ahead(batches(), META):
        taken.append(int(batch.indices[0]))
        assert batch.images_bhwc.device == batch.labels.device == META and batch.indices.device.type == "cpu"
        assert len(side.pending) <= len(taken) + 1, "one batch ahead"
    assert taken == [0, 1, 2, 3, 4] and len(alive) <= 1
    assert not lost, "let go before they were copied"
