"""What every start of a command would otherwise import for itself: the server of `fault_server` imports this once.

Nothing here may start a thread or run a backward pass: what is forked would lack the one, and torch forbids the other.
"""

import torch._dynamo  # noqa: F401
import torchvision.datasets.utils  # noqa: F401
import yaml  # noqa: F401

from benchmarks.drills import archive_rows, feed_rows, fuzz_files, run_rows  # noqa: F401
from engine import evaluate, train  # noqa: F401
from engine.inference import evaluate_checkpoint  # noqa: F401
from engine.session import repeats, session  # noqa: F401
from loaders.feeds.ffcv_fixes import import_ffcv
from loaders.sources import cifar, cifar_download, class_folders, shapes  # noqa: F401

torch.set_num_threads(1)
import_ffcv()
