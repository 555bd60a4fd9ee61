"""Text -> operations: the syntax of the policy language, read by `ast` against the table of `operations`.

Only names, numbers, flat tuples and bare words are understood. Nothing is evaluated, and the length of the text, the
number of operations and their nesting are limited.
"""

import ast
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from loaders.common.errors import DataError
from loaders.common.text import did_you_mean
from loaders.policy.named_policies import POLICIES
from loaders.policy.operations import BY_NAME, Parameter, Spec

MAX_CHARACTERS = 4000
MAX_OPERATIONS = 64
MAX_NESTING = 4


@dataclass(frozen=True)
class Operation:
    """One operation as written: name, checked arguments in the table's order, wrapped operations, position."""

    name: str
    arguments: tuple[tuple[str, object], ...]
    children: tuple["Operation", ...]
    position: int

    @property
    def spec(self) -> Spec:
        return BY_NAME[self.name]

    def value(self, name: str) -> object:
        """One argument: an int, a float, a (low, high) pair or a word."""
        return dict(self.arguments)[name]

    def interval(self, name: str) -> tuple[float, float]:
        """An interval argument as (low, high); the parameter's `single` expands a single number."""
        value = self.value(name)
        if isinstance(value, tuple):
            return value
        single = self.spec.parameter(name).single
        if single == "symmetric":
            return (-value, value)
        return (max(0.0, 1.0 - value), 1.0 + value) if single == "factor" else (value, value)

    @property
    def text(self) -> str:
        """Canonical text: the arguments that differ from their default, in the table's order."""
        parts = []
        for name, value in self.arguments:
            if self.spec.kind == "wrapper":
                parts.append(_written(value))
            elif value != self.spec.parameter(name).default:
                parts.append(f"{name}={_written(value)}")
        return f"{self.name}({', '.join(parts + [child.text for child in self.children])})"


def read(text: str) -> list[Operation]:
    """The checked operations of a policy text, numbered as written. Raises DataError."""
    positions, operations = itertools.count(), []
    for node in _syntax(text):
        named = POLICIES.get(node.id) if isinstance(node, ast.Name) else None
        operations += [_operation(inner, positions, 0) for inner in (_syntax(named) if named else [node])]
    return operations


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_written, value))})"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def _hint(word: str, known: Iterable[str]) -> str:
    return did_you_mean(word, known) or f"known: {', '.join(known)}"


def _operation(node: ast.expr, positions: Iterator[int], depth: int) -> Operation:
    if isinstance(node, ast.Name):
        if node.id in POLICIES:
            raise DataError(f"policy: '{node.id}' is a named policy, which is not allowed inside maybe(...) and "
                            "one_of(...); write its operations there")
        hint = f"write {node.id}(...)" if node.id in BY_NAME else _hint(node.id, sorted([*BY_NAME, *POLICIES]))
        raise DataError(f"policy: '{node.id}' is not an operation with arguments; {hint}")
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        raise DataError(f"policy: expected operations such as crop(pad_px=4), flip(); got '{_source(node)}'")
    name = node.func.id
    if name not in BY_NAME:
        raise DataError(f"policy: unknown operation '{name}'; {_hint(name, sorted(BY_NAME))}")
    position, spec = next(positions), BY_NAME[name]
    if position >= MAX_OPERATIONS:
        raise DataError(f"policy: more than {MAX_OPERATIONS} operations; write fewer")
    if depth > MAX_NESTING:
        raise DataError(f"policy: {name}(...) is nested deeper than {MAX_NESTING} wrappers; write it flatter")
    if spec.kind == "wrapper":
        return _wrapper(node, spec, positions, position, depth)
    if node.args:
        example = spec.parameters[0].name if spec.parameters else None
        hint = f"name the parameter, e.g. {name}({example}=...)" if example else f"write {name}()"
        raise DataError(f"policy: {name}({_source(node.args[0])}): {hint}")
    return Operation(name, _arguments(node, spec), (), position)


def _wrapper(node: ast.Call, spec: Spec, positions: Iterator[int], position: int, depth: int) -> Operation:
    needed = 2 if spec.name == "one_of" else 1
    if node.keywords or len(node.args) < 1 + needed:
        raise DataError(f"policy: {spec.name}(...) takes a probability and at least {needed} operation(s), "
                        f"e.g. {spec.name}(.5, flip(p=1){', gray(p=1)' * (needed - 1)})")
    p = _checked(node.args[0], spec.name, spec.parameters[0])
    children = tuple(_operation(child, positions, depth + 1) for child in node.args[1:])
    if any(child.name == "resize" for child in children):
        raise DataError(f"policy: resize(...) inside {spec.name}(...): all images must get the same size; move it out")
    return Operation(spec.name, (("p", p),), children, position)


def _syntax(text: str) -> list[ast.expr]:
    text = " ".join(str(text).split())
    if len(text) > MAX_CHARACTERS:
        raise DataError(f"policy: {len(text)} characters; at most {MAX_CHARACTERS} are read")
    if text in ("", "none"):
        return []
    try:
        body = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise DataError(f"policy: '{text[:60]}' cannot be read ({what}); write e.g. crop(pad_px=4), flip()") from None
    return list(body.elts) if isinstance(body, ast.Tuple) else [body]


def _source(node: ast.AST) -> str:
    try:
        return ast.unparse(node)[:60]
    except (RecursionError, ValueError):
        return type(node).__name__


def _arguments(node: ast.Call, spec: Spec) -> tuple[tuple[str, object], ...]:
    given = {}
    for keyword in node.keywords:
        if keyword.arg is None or spec.parameter(keyword.arg) is None:
            names = [parameter.name for parameter in spec.parameters]
            hint = _hint(str(keyword.arg), names) if names else "it takes none"
            raise DataError(f"{spec.name}: unknown parameter '{keyword.arg}'; {hint}")
        if keyword.arg in given:
            raise DataError(f"{spec.name}: parameter '{keyword.arg}' is given twice; keep one")
        given[keyword.arg] = _checked(keyword.value, spec.name, spec.parameter(keyword.arg))
    for parameter in spec.parameters:
        if parameter.name not in given and parameter.default is None:
            raise DataError(f"{spec.name}: {parameter.name} is needed, e.g. {spec.name}({parameter.name}=...) "
                            f"in {parameter.unit}")
    return tuple((parameter.name, given.get(parameter.name, parameter.default)) for parameter in spec.parameters)


def _checked(node: ast.expr, name: str, parameter: Parameter) -> object:
    """The value of one argument; DataError if it is out of range."""
    what = f"{name}({parameter.name}={_source(node)}): {parameter.name} must be"
    if parameter.kind == "choice":
        word = node.id if isinstance(node, ast.Name) else _literal(node)
        if word not in parameter.choices:
            raise DataError(f"{what} one of {', '.join(parameter.choices)}")
        return word
    value = _literal(node)
    is_pair = isinstance(value, tuple)
    low, high = value if is_pair and len(value) == 2 else (value, value)
    valid = _within(low, parameter) and _within(high, parameter) and low <= high
    allowed = f"from {_written(float(parameter.low))} to {_written(float(parameter.high))} ({parameter.unit})"
    if parameter.kind in ("int", "int_interval"):
        may_pair = parameter.kind == "int_interval"
        if not (valid and type(low) is type(high) is int and (may_pair or not is_pair)):
            raise DataError(f"{what} an integer {'or a pair (low, high), ' if may_pair else ''}{allowed}")
        return value
    if parameter.kind == "interval" and is_pair:
        if not valid:
            raise DataError(f"{what} (low, high), both {allowed}, low <= high")
        return float(low), float(high)
    least = 0.0 if parameter.single != "exact" else parameter.low
    most = min(parameter.high, 1.0) if parameter.single == "factor" else parameter.high
    if is_pair or not (valid and least <= value <= most):
        pair = " or a pair (low, high)" if parameter.kind == "interval" else ""
        raise DataError(f"{what} a number from {_written(float(least))} to {_written(float(most))} "
                        f"({parameter.unit}){pair}")
    return float(value)


def _within(value: object, parameter: Parameter) -> bool:
    return type(value) in (int, float) and parameter.low <= value <= parameter.high


def _literal(node: ast.expr) -> object:
    """A number without a plus sign, a string or a tuple (also from a list); None for anything else."""
    if any(isinstance(inner, ast.UAdd) for inner in ast.walk(node)):
        return None
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError):
        return None
    return tuple(value) if isinstance(value, list) else value
