"""torchrun's environment: which of its processes this is, and whose error is shown. Imports no torch by itself.

Without torchrun `ranks_of` gives None, and nothing else here is called.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

# How long an error may look for the others' before it is shown all the same.
STORE_S = 10


@dataclass(frozen=True)
class Ranks:
    """Process `rank` of `ranks`; on its own node it is `local_rank` of `local_ranks`.

    launch: torchrun's id of this launch, the same after restarts, "" where it has none of its own; restarts: how often
    torchrun has started the processes anew.
    """

    rank: int
    ranks: int
    local_rank: int
    local_ranks: int
    launch: str = ""
    restarts: int = 0


def ranks_of(environment: Mapping[str, str]) -> Ranks | None:
    """What torchrun (or whoever sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT as it does) says; None without."""
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None

    def number(name: str, otherwise: int = 0) -> int:
        return int(environment.get(name, otherwise))

    launch = environment.get("TORCHELASTIC_RUN_ID", "")
    return Ranks(number("RANK"), number("WORLD_SIZE"), number("LOCAL_RANK"), number("LOCAL_WORLD_SIZE", 1),
                 "" if launch == "none" else launch, number("TORCHELASTIC_RESTART_COUNT"))


def open_store(timeout_s: float):
    """The key-value store that torchrun keeps for its processes; they need not all be there."""
    from torch.distributed import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(iter(rendezvous("env://", timeout=timedelta(seconds=timeout_s))))
    return PrefixStore(f"cadence/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def speaks_for_all() -> bool:
    """Whether this process is the one to show an error: of several that end, the first to ask; a lone one always."""
    ranks = ranks_of(os.environ)
    if ranks is None or ranks.ranks == 1:
        return True
    try:
        return open_store(STORE_S).add("errors", 1) == 1
    except RuntimeError:
        # The store is gone with its keeper: better twice than not at all.
        return True
