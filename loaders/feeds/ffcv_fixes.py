"""FFCV 1.0.2 with its faults fixed, for this project's pipelines and for FFCV's own.

- Importing it and building a Loader change torch's thread count. Here its Compiler does not touch torch.
- It compiles every operation again in every process. Here a function marked `ready` is called as is.
- It marks numba's shared type of byte arrays as read-only, which breaks all kernels compiled earlier. Here its reader
  is compiled for the types of its arguments.
- An exception in its thread leaves the consumer waiting forever. Here it is raised in the caller.
- An epoch left early leaks its thread, and a process that ends while an iterator is alive aborts. Here iterators are
  closed and joined, also at interpreter exit.
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
    """FFCV's Loader, the fixed EpochIterator, and the class that image decoders must have.

    Takes several seconds the first time; torch's thread count stays. Raises DataError if FFCV is missing or broken.
    """
    threads = torch.get_num_threads()
    try:
        from ffcv.fields.rgb_image import SimpleRGBImageDecoder
        from ffcv.loader import Loader
        from ffcv.loader.epoch_iterator import EpochIterator
        from ffcv.memory_managers import OSCacheManager
        from ffcv.pipeline.compiler import Compiler
    except ImportError as error:
        raise DataError(f"FFCV cannot be imported ({error}): `python -m engine.doctor` shows the remedy") from None
    finally:
        torch.set_num_threads(threads)
    if not getattr(Compiler, "fixed", False):
        _fix(Compiler, OSCacheManager)
    return Loader, _safe(EpochIterator), SimpleRGBImageDecoder


def _fix(compiler, cache_manager) -> None:
    compile_always = compiler.compile.__func__

    def set_num_threads(cls, count):
        cls.num_threads = count

    def compile_unless_ready(cls, code, signature=None):
        return code if getattr(code, "ready", False) else compile_always(cls, code, signature)

    def read(address, mem_state):
        size = mem_state[2][np.searchsorted(mem_state[1], address)]
        return mem_state[0][address:address + size]

    compiler.set_num_threads = classmethod(set_num_threads)
    compiler.compile = classmethod(compile_unless_ready)
    # Without FFCV's signature it is compiled on its first call, which the fused operation never makes.
    cache_manager.compile_reader = lambda self: compiler.compile(read)
    compiler.fixed = True


def _safe(iterator_class: type) -> type:
    """FFCV's EpochIterator without its three faults: lost errors, lost threads, and no place for an epoch's key."""

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
            except BaseException as error:  # raised in the caller
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
                        raise RuntimeError("the loader's thread ended without an error") from None

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
    for iterator in list(iterators):
        iterator.finish()


atexit.register(close_all, _OPEN)
