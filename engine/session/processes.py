"""Which of a run's processes writes and prints, and what one of them does for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from engine.cli.parser import USER_ERRORS
from engine.common.errors import EngineError

if TYPE_CHECKING:
    from engine.distributed.process_group import ProcessGroup

Value = TypeVar("Value")


def leads(process_group: ProcessGroup | None) -> bool:
    """Whether this is the process that writes and prints."""
    return process_group is None or process_group.leads


def once(process_group: ProcessGroup | None, function: Callable[[], Value]) -> Value:
    """What `function` returns, called in one process only; a user's error that it raises is raised in all."""
    def told() -> Value:
        try:
            return function()
        except USER_ERRORS as error:
            raise EngineError(str(error)) from None

    return process_group.call_in_first(told) if process_group else function()
