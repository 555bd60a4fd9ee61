"""Every row of the fault table: each check refused in one line or survived, none hanging, dying or taking long."""

import pytest

from benchmarks.drills.table import check_row, title
from benchmarks.faults import TABLE

pytestmark = pytest.mark.slow("each row runs in a process of its own, and most train small runs there")


@pytest.mark.parametrize("row", TABLE, ids=title)
def test_the_fault_loses_nothing(row, tmp_path):
    checks = check_row(row, tmp_path / "row")
    if checks.skipped:
        pytest.skip(checks.skipped)
    assert not checks.lost
    assert checks.tried == checks.refused + checks.survived > 0
