"""Imports that all commands need: the server of `run_isolated` imports them once, before it forks.

Nothing here may start a thread, which a forked process would lack, or run a backward pass, which torch forbids there.
"""

import torch._dynamo  # noqa: F401
import torchvision.datasets.utils  # noqa: F401
import yaml  # noqa: F401

from benchmarks.drills import archive_rows, beton_rows, feed_rows, fuzz_files, kills, run_rows  # noqa: F401
from engine.inference import evaluate_checkpoint  # noqa: F401
from engine.session import repeats, session  # noqa: F401
from loaders.feeds.ffcv_fixes import import_ffcv
from loaders.sources import cifar_download, class_folders, shapes  # noqa: F401

torch.set_num_threads(1)
import_ffcv()
