"""How busy a machine is while something is measured: with the measuring process, with others, and with other machines
on the same host."""

import os
import time

import psutil


class LoadMeter:
    """Counts processor time from its start on."""

    def __init__(self):
        self.began = self._seconds()

    def read(self) -> dict[str, float]:
        """The mean number of cores busy since the start, of those that this process may use: `own_cores` with itself
        and children that have ended, `other_cores` with other processes, `stolen_cores` with what the machine's host
        gave to others (0 where that is not known).
        """
        wall_s, busy_s, stolen_s, own_s = (now - then for now, then in zip(self._seconds(), self.began, strict=True))
        wall_s = max(wall_s, 1e-9)
        # The clocks tick at different moments.
        return {"own_cores": round(own_s / wall_s, 2), "other_cores": round(max(0.0, busy_s - own_s) / wall_s, 2),
                "stolen_cores": round(max(0.0, stolen_s) / wall_s, 2)}

    @staticmethod
    def _seconds() -> tuple[float, float, float, float]:
        """(the clock, busy cores, stolen cores, this process and its ended children), all in seconds."""
        usable, every = os.sched_getaffinity(0), psutil.cpu_times(percpu=True)
        cores = [core for number, core in enumerate(every) if number in usable]
        # A guest's time is a part of user and nice.
        busy = sum(getattr(core, kind, 0.0) for core in cores for kind in ("user", "nice", "system", "irq", "softirq"))
        return time.monotonic(), busy, sum(getattr(core, "steal", 0.0) for core in cores), sum(os.times()[:4])
