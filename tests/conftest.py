"""What tests of several rooms share."""

import pytest


@pytest.fixture
def process_as_it_was():
    """Building a run sets torch's threads and how denormals are treated, for the whole process: they are put back."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
