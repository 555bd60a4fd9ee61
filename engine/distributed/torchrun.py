"""torchrun's environment: this process's rank, and which process shows an error. Importing this imports no torch."""

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

# How long a process that shows an error waits for the store.
STORE_S = 10
POLL_S = 0.02
# The name of this process's round, if known.
_round: list[str] = []


@dataclass(frozen=True)
class Ranks:
    """Process `rank` of `ranks`; on its own node it is `local_rank` of `local_ranks`.

    launch: torchrun's id of this launch, unchanged by restarts, "" if it has none. restarts: how often torchrun has
    restarted the processes.
    """

    rank: int
    ranks: int
    local_rank: int
    local_ranks: int
    launch: str = ""
    restarts: int = 0


def ranks_of(environment: Mapping[str, str]) -> Ranks | None:
    """The ranks that torchrun, or another launcher with its variables (RANK, WORLD_SIZE), sets; None without one."""
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None
    defaults = {"RANK": 0, "WORLD_SIZE": 0, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "TORCHELASTIC_RESTART_COUNT": 0}
    *ranks, restarts = (int(environment.get(name, default)) for name, default in defaults.items())
    launch = environment.get("TORCHELASTIC_RUN_ID", "")
    return Ranks(*ranks, launch if launch != "none" else "", restarts)


def open_store(timeout_s: float):
    """torchrun's store, with a prefix for this round of processes; RuntimeError if one is missing after `timeout_s`."""
    from torch.distributed import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, ranks = next(iter(rendezvous("env://", timeout=timedelta(seconds=timeout_s))))
    while isinstance(store, PrefixStore):
        # Torch's prefix counts restarts, which differ between nodes.
        store = store.underlying_store
    store = PrefixStore(f"cadence/{os.environ.get('TORCHELASTIC_RUN_ID', '')}", store)
    if not _round:
        _round.append(agree_on_round(store, rank, ranks, timeout_s))
    return PrefixStore(_round[0], store)


def agree_on_round(store, rank: int, ranks: int, timeout_s: float) -> str:
    """A name for this round of processes, the same in all of them and different from all earlier rounds.

    The store still holds the entries of earlier rounds. So process 0 answers every greeting, even of dead processes,
    until each other process has confirmed the answer. RuntimeError if that takes longer than `timeout_s`.
    """
    own, ends = uuid.uuid4().hex, time.monotonic() + timeout_s
    if rank:
        store.set(f"greeting of {rank}", own)
        store.wait([f"answer to {own}"], timedelta(seconds=timeout_s))
        name = store.get(f"answer to {own}").decode()
        store.set(f"{rank} is in {name}", "yes")
        return name
    missing = set(range(1, ranks))
    while missing:
        for other in sorted(missing):
            if store.check([f"{other} is in {own}"]):
                missing.remove(other)
            elif store.check([f"greeting of {other}"]):
                greeting = store.get(f"greeting of {other}").decode()
                store.set(f"answer to {greeting}", own)
        if time.monotonic() > ends:
            raise RuntimeError(f"TCPStore: timed out waiting for process {min(missing)} of {ranks}")
        time.sleep(POLL_S)
    return own


def speaks_for_all() -> bool:
    """Whether this process shows an error: only the first of the run's processes to ask does."""
    ranks = ranks_of(os.environ)
    if ranks is None or ranks.ranks == 1:
        return True
    try:
        return open_store(STORE_S).add("errors", 1) == 1
    except RuntimeError:
        # The store is gone: show the error twice rather than not at all.
        return True
