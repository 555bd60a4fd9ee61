"""Every row of the fault table: each try refused in one line or survived, none hanging, dying or taking long."""

import pytest

from benchmarks.drills.table import title, try_row
from benchmarks.faults import TABLE


@pytest.mark.parametrize("row", TABLE, ids=title)
def test_the_fault_loses_nothing(row, tmp_path):
    tries = try_row(row, tmp_path / "row")
    if tries.skipped:
        pytest.skip(tries.skipped)
    assert not tries.lost
    assert tries.tried == tries.refused + tries.survived > 0
