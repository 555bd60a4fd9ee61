"""A module's docstring, which Python drops with -OO. Standard library only."""

import ast
from importlib.util import find_spec


def docstring(module: str) -> str:
    """The docstring in the source of `module` ("engine.train"), "" where there is none. It is not imported."""
    spec = find_spec(module)
    source = spec.loader.get_source(module) if spec else None
    return ast.get_docstring(ast.parse(source or ""), clean=False) or ""
