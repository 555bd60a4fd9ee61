"""The load of a machine, from clocks that the tests set."""

from types import SimpleNamespace

import pytest

from engine.common import machine_load
from engine.common.machine_load import LoadMeter


@pytest.fixture
def machine(monkeypatch):
    """Its counters, in seconds, of two cores that may be used; a step of the test adds to them. A third is another's.
    """
    now = SimpleNamespace(wall=100.0, own=[1.0, 1.0, 1.0, 1.0, 100.0],
                          user=50.0, nice=5.0, system=5.0, idle=900.0, iowait=7.0, irq=1.0, softirq=1.0, steal=3.0)
    monkeypatch.setattr(machine_load, "time", SimpleNamespace(monotonic=lambda: now.wall))
    monkeypatch.setattr(machine_load, "os", SimpleNamespace(times=lambda: tuple(now.own),
                                                            sched_getaffinity=lambda process: {0, 2}))

    def cpu_times(percpu):
        assert percpu
        half = {kind: seconds / 2 for kind, seconds in vars(now).items() if kind not in ("wall", "own")}
        return [SimpleNamespace(**half), SimpleNamespace(user=12345.0 * now.wall), SimpleNamespace(**half)]

    monkeypatch.setattr(machine_load, "psutil", SimpleNamespace(cpu_times=cpu_times))
    return now


def test_own_other_and_stolen_time_are_told_apart_from_the_start_on(machine):
    meter = LoadMeter()
    machine.wall += 10
    machine.user, machine.nice, machine.system, machine.softirq = 50 + 12, 5 + 2, 5 + 3, 1 + 1
    machine.idle, machine.iowait, machine.steal = 950.0, 70.0, 3 + 4
    machine.own = [1 + 10, 1 + 1, 1 + 1, 1 + 0, 110.0]
    assert meter.read() == {"own_cores": 1.2, "other_cores": 0.6, "stolen_cores": 0.4}
    assert LoadMeter().read() == {"own_cores": 0, "other_cores": 0, "stolen_cores": 0}


def test_clocks_that_tick_unevenly_never_give_less_than_nothing(machine):
    meter = LoadMeter()
    machine.wall, machine.user, machine.own[0] = 110.0, 50 + 9.99, 1 + 10.0
    assert meter.read() == {"own_cores": 1, "other_cores": 0, "stolen_cores": 0}


def test_a_system_that_does_not_count_stolen_time_has_none(machine):
    del machine.steal, machine.irq, machine.softirq
    meter = LoadMeter()
    machine.wall, machine.user = 102.0, 54.0
    assert meter.read() == {"own_cores": 0, "other_cores": 2, "stolen_cores": 0}
