"""Calls of export toolkits: without their warnings, and their errors as one line."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from engine.common.errors import EngineError


@contextmanager
def quiet(problem: str, way_out: str, errors: type | tuple[type, ...] = Exception) -> Iterator[None]:
    """Hide warnings, and raise `errors` as an EngineError of one line: `problem` (the error's first line): `way_out`.

    The exporters warn of their authors' plans, not of what a user could change. Most of them document no base class of
    their errors, hence Exception.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except EngineError:
        raise
    except errors as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise EngineError(f"{problem} ({reason}): {way_out}") from None
    finally:
        logging.disable(disabled)
