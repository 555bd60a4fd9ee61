"""What every start of a command would otherwise import for itself: the server of `fault_server` imports this once.

Nothing here may start a thread or run a backward pass: what is forked would lack the one, and torch forbids the other.
"""

import torch._dynamo  # noqa: F401
import torchvision.datasets.utils  # noqa: F401
import yaml  # noqa: F401

from benchmarks import fault_archives, fault_feeds, fault_fuzz, fault_runs  # noqa: F401
from engine import evaluate, measure, repeats, session, train  # noqa: F401
from loaders import cifar, download, folder, shapes  # noqa: F401
from loaders.ffcv_mended import import_ffcv

torch.set_num_threads(1)
import_ffcv()
