"""Warnings that are hidden, and errors that become one line."""

import logging
import warnings

import pytest

from engine.common.errors import EngineError
from engine.exporting.toolkits import quiet


def test_quiet_hides_warnings_and_gives_them_back(recwarn, caplog):
    with quiet("it failed", "do without"):
        warnings.warn("hidden", stacklevel=1)
        logging.getLogger("torch.some").warning("hidden")
    warnings.warn("seen", stacklevel=1)
    logging.getLogger("torch.some").warning("seen")
    assert [str(each.message) for each in recwarn] == ["seen"]
    assert [each.getMessage() for each in caplog.records] == ["seen"]


def test_errors_become_one_line_and_others_pass():
    with pytest.raises(EngineError, match=r"^it failed \(too large\): do without$"):
        with quiet("it failed", "do without"):
            raise ValueError("too large\nby far")
    with pytest.raises(KeyError), quiet("it failed", "do without", ValueError):
        raise KeyError("other")
    assert logging.root.manager.disable == 0
