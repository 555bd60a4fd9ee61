"""FFCV's fixes on stand-ins for its classes: errors reach the caller, threads end, what is ready stays as it is."""

import queue
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from loaders.common.errors import DataError
from loaders.feeds import ffcv_fixes
from loaders.feeds.ffcv_fixes import _fix, _safe, close_all, import_ffcv


class Iterator:
    """What FFCV's iterator has: a queue, the mapped file's state, and a thread, which `alive` plays call by call."""

    def __init__(self, loader, order):
        self.loader, self.order = loader, order
        self.output_queue, self.terminate_event, self.iter_ixes = queue.Queue(2), threading.Event(), iter([1, 2])
        self.storage_state = "mapped", "addresses"
        self.alive, self.ended = iter([]), []

    def run(self):
        raise self.loader

    def is_alive(self):
        return next(self.alive, False)

    def join(self):
        self.ended.append("joined")

    def close(self):
        self.ended.append("closed")


@pytest.fixture
def iterator(monkeypatch):
    monkeypatch.setattr(ffcv_fixes, "POLL_S", 0.001)
    made = _safe(Iterator)(Planted("in the thread"), [5, 6], "key")
    yield made
    ffcv_fixes._OPEN.discard(made)


class Planted(BaseException):
    """What ends the loader's thread."""


def test_the_epochs_key_travels_behind_the_mapped_files_state(iterator):
    assert iterator.storage_state == ("mapped", "addresses", "key") and iterator.order == [5, 6]


def test_a_batch_is_waited_for_as_long_as_the_thread_lives(iterator):
    def late():
        yield True
        iterator.output_queue.put((0, ("images", "labels")))
        yield True

    iterator.alive = late()
    assert iterator.take() == "images"
    iterator.output_queue.put(None)
    assert iterator.take() is None


def test_a_batch_that_came_as_the_thread_ended_is_not_lost(iterator):
    def last():
        iterator.output_queue.put((1, ("images", "labels")))
        yield False

    iterator.alive = last()
    assert iterator.take() == "images"


def test_what_ended_the_thread_is_raised_in_the_caller(iterator):
    iterator.run()
    with pytest.raises(Planted, match="in the thread"):
        iterator.take()
    iterator.failure = None
    with pytest.raises(RuntimeError, match="^the loader's thread ended without an error$"):
        iterator.take()


def test_a_thread_that_waits_to_hand_out_its_batches_is_ended_and_joined(iterator):
    def hands_out():
        for batch in range(3):
            iterator.output_queue.put((batch, ("images", "labels")), timeout=1)
            yield True

    iterator.alive = hands_out()
    close_all([iterator])
    assert iterator.terminate_event.is_set() and list(iterator.iter_ixes) == []
    assert iterator.ended == ["joined", "closed"]
    assert iterator in ffcv_fixes._OPEN, "so that the interpreter's exit finds what is left open"


def fixed():
    """A compiler and a manager of the file as FFCV has them, after the fix; what was compiled, with its signature."""
    compiled = []

    class Compiler:
        num_threads = 1

        @classmethod
        def compile(cls, code, signature=None):
            compiled.append((cls, code, signature))
            return "compiled"

    class Manager:
        def compile_reader(self):
            raise AssertionError

    _fix(Compiler, Manager)
    return Compiler, Manager, compiled


def test_all_but_what_is_ready_is_compiled():
    compiler, _, compiled = fixed()
    ready, plain = SimpleNamespace(ready=True), SimpleNamespace()
    assert compiler.compile(ready) is ready and compiler.compile(ready, "signature") is ready and not compiled
    assert compiler.compile(plain) == compiler.compile(plain, "signature") == "compiled"
    assert compiled == [(compiler, plain, None), (compiler, plain, "signature")]
    threads = torch.get_num_threads()
    compiler.set_num_threads(threads + 3)
    assert (compiler.num_threads, torch.get_num_threads(), compiler.fixed) == (threads + 3, threads, True)


def test_a_sample_is_read_where_its_address_says():
    _, manager, compiled = fixed()
    assert manager().compile_reader() == "compiled"
    [(_, read, signature)] = compiled
    file, addresses, sizes = np.arange(100, dtype=np.uint8), np.array([10, 40, 70]), np.array([5, 20, 30])
    read_bytes = [read(address, (file, addresses, sizes)).tolist() for address in addresses]
    assert signature is None and read_bytes == [list(range(10, 15)), list(range(40, 60)), list(range(70, 100))]


def test_ffcv_that_is_missing_is_one_line_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "ffcv", None)
    for name in [name for name in sys.modules if name.startswith("ffcv.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(DataError, match=r"^FFCV cannot be imported \(.*\bffcv\b.*\): `python "
                                        "-m engine.doctor` shows the remedy$") as caught:
        import_ffcv()
    assert caught.value.__cause__ is None
