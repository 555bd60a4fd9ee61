"""Whether the processes of a run live: each leaves a sign in the store every second, and watches for another's.

A process that converts data, compiles or writes to slow storage may keep the others waiting; one that was killed, has
stopped or was cut off must not. Their communication cannot tell the two apart.
"""

import threading
import time
from collections.abc import Callable

from torch.distributed import Store

from engine.distributed.torchrun import Ranks

BEAT_S = 1.0
LEFT = b"left"
# How long a process that leaves waits for its last exchange.
LEAVE_S = 5.0


class Heartbeat:
    """While open, shows that this process lives and watches the next one, by rank; leaving without an error is no loss.

    Calls `on_loss` once, in a thread of its own, if the other gives no sign for `timeout_s` seconds, without those in
    which this process itself was suspended. A store that does not answer gives none.
    """

    def __init__(self, store: Store, ranks: Ranks, timeout_s: float, on_loss: Callable[[], None]):
        # A connection of its own: the other may wait for hours.
        self.store, self.own, self.other = store.clone(), *(f"sign of {rank % ranks.ranks}" for rank in
                                                            (ranks.rank, ranks.rank + 1))
        self.timeout_s, self.beat_s, self.on_loss = timeout_s, min(BEAT_S, timeout_s / 10), on_loss
        self.beats, self.seen, self.silent_s = 0, b"", 0.0
        self.heard, self.closing = threading.Event(), threading.Event()

    def __enter__(self):
        # Two threads, for an exchange over a broken connection may not return.
        self.threads = [threading.Thread(target=act, daemon=True) for act in (self._beat, self._watch)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.closing.set()
        for thread in self.threads:
            thread.join(LEAVE_S)
        if kind is None:
            self.leave()

    def exchange(self) -> None:
        """Leave a sign, and look whether the other has left a new one; RuntimeError if the store does not answer."""
        self.beats += 1
        self.store.set(self.own, str(self.beats))
        seen = self.store.get(self.other) if self.store.check([self.other]) else b""
        if seen != self.seen or seen == LEFT:
            self.seen = seen
            self.heard.set()

    def lost(self, passed_s: float) -> bool:
        """Whether the other is lost, now that so many seconds have passed since the last call."""
        # After a longer pause this process itself was stopped.
        self.silent_s += min(passed_s, 2 * self.beat_s)
        if self.heard.is_set():
            self.heard.clear()
            self.silent_s = 0.0
        return self.seen != LEFT and self.silent_s > self.timeout_s

    def leave(self) -> None:
        """Say that this process ends as it should."""
        try:
            self.store.set(self.own, LEFT)
        except RuntimeError:
            # The store ended first, and with it whoever would read this.
            return

    def _beat(self) -> None:
        try:
            while not self.closing.wait(self.beat_s):
                self.exchange()
        except RuntimeError:
            # Its silence tells.
            return

    def _watch(self) -> None:
        before = time.monotonic()
        while not self.closing.wait(self.beat_s):
            now = time.monotonic()
            if self.lost(now - before) and not self.closing.is_set():
                self.on_loss()
                return
            before = now
