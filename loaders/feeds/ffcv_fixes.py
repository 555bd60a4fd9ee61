"""FFCV 1.0.2 with its faults fixed, for this project's pipelines and for FFCV's own.

- Importing it and building a Loader set torch's thread count: its Compiler no longer touches torch.
- It compiles every operation again in every process: a function marked `ready` is called as it is.
- It marks numba's one shared type of byte arrays as read-only, which breaks every kernel compiled before: its reader
  is compiled for the types of its arguments.
- An exception in its thread leaves the consumer waiting for ever: it is raised in the caller.
- An epoch left early leaks its thread, and a process that ends while an iterator is alive aborts: iterators are closed
  and joined, also at interpreter exit.
"""

import atexit
import queue
import weakref

import numpy as np
import torch

from loaders.common.errors import DataError

POLL_S = 0.2
_OPEN: weakref.WeakSet = weakref.WeakSet()


def import_ffcv() -> tuple[type, type, type]:
    """FFCV's Loader, an EpochIterator with its faults fixed, and the class that image decoders must have.

    Takes several seconds the first time; torch's thread count stays. Raises DataError where FFCV is missing or broken.
    """
    threads = torch.get_num_threads()
    try:
        from ffcv.fields.rgb_image import SimpleRGBImageDecoder
        from ffcv.loader import Loader
        from ffcv.loader.epoch_iterator import EpochIterator
        from ffcv.memory_managers import OSCacheManager
        from ffcv.pipeline.compiler import Compiler
    except ImportError as error:
        raise DataError(f"FFCV cannot be imported ({error}): `python -m engine.doctor` says how to mend it") from None
    finally:
        torch.set_num_threads(threads)
    if not getattr(Compiler, "mended", False):
        _mend(Compiler, OSCacheManager)
    return Loader, _safe(EpochIterator), SimpleRGBImageDecoder


def _mend(compiler, cache_manager) -> None:
    compile_anew = compiler.compile.__func__

    def set_num_threads(cls, count):
        cls.num_threads = count

    def compile_unless_ready(cls, code, signature=None):
        return code if getattr(code, "ready", False) else compile_anew(cls, code, signature)

    def read(address, mem_state):
        size = mem_state[2][np.searchsorted(mem_state[1], address)]
        return mem_state[0][address:address + size]

    compiler.set_num_threads = classmethod(set_num_threads)
    compiler.compile = classmethod(compile_unless_ready)
    # Without FFCV's signature it is compiled on its first call: never, where the fused operation reads for itself.
    cache_manager.compile_reader = lambda self: compiler.compile(read)
    compiler.mended = True


def _safe(iterator_class: type) -> type:
    """FFCV's EpochIterator with its three faults fixed: lost errors, lost threads, and no room for an epoch's key."""

    class SafeIterator(iterator_class):
        def __init__(self, loader, order, state):
            self._epoch_state, self.failure = state, None
            super().__init__(loader, order)
            _OPEN.add(self)

        @property
        def storage_state(self):
            return self._storage_state

        @storage_state.setter
        def storage_state(self, mapped):
            # The epoch's key travels with the mapped file, as data: compiled code keeps no state between epochs.
            self._storage_state = (*mapped, self._epoch_state)

        def run(self):
            try:
                super().run()
            except BaseException as error:  # raised in the caller, whatever it is
                self.failure = error

        def take(self):
            """The next batch's images, or None at the end; raises what the loader's thread raised."""
            while True:
                try:
                    got = self.output_queue.get(timeout=POLL_S)
                    return None if got is None else got[1][0]
                except queue.Empty:
                    if self.is_alive():
                        continue
                    if self.failure is not None:
                        raise self.failure from None
                    if self.output_queue.empty():
                        raise RuntimeError("the loader's thread ended without a word") from None

        def finish(self):
            """Stop the thread and wait for it."""
            self.terminate_event.set()
            self.iter_ixes = iter(())
            while self.is_alive():
                try:
                    self.output_queue.get(timeout=0.01)
                except queue.Empty:
                    pass
            self.join()
            self.close()

    return SafeIterator


def close_all(iterators) -> None:
    """Stop and join every iterator of a collection."""
    for iterator in list(iterators):
        iterator.finish()


atexit.register(close_all, _OPEN)
