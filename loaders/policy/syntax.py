"""Text -> operations: the syntax of the policy language, read by `ast` against the table of `operations`.

Names, numbers, flat tuples and bare words are all that is understood; nothing is evaluated, and the length, the number
of operations and their nesting are limited.
"""

import ast
import difflib
from dataclasses import dataclass

from loaders.common.errors import DataError
from loaders.policy.named_policies import POLICIES
from loaders.policy.operations import BY_NAME, Parameter, Spec

MAX_CHARACTERS = 4000
MAX_OPERATIONS = 64
MAX_NESTING = 4


@dataclass(frozen=True)
class Operation:
    """One operation as written: its name, its checked arguments in the table's order, what it wraps, its position."""

    name: str
    arguments: tuple[tuple[str, object], ...]
    children: tuple["Operation", ...]
    position: int

    @property
    def spec(self) -> Spec:
        """The operation's row of the table."""
        return BY_NAME[self.name]

    def value(self, name: str) -> object:
        """The value of one argument: an int, a float, a (low, high) pair or a word."""
        return dict(self.arguments)[name]

    def interval(self, name: str) -> tuple[float, float]:
        """An interval argument as (low, high), a single number expanded as its parameter says."""
        value = self.value(name)
        if isinstance(value, tuple):
            return value
        single = self.spec.parameter(name).single
        if single == "symmetric":
            return (-value, value)
        return (max(0.0, 1.0 - value), 1.0 + value) if single == "factor" else (value, value)

    @property
    def text(self) -> str:
        """The operation in canonical form: arguments that are not at their default, in the table's order."""
        parts = []
        for name, value in self.arguments:
            if self.spec.room == "wrapper":
                parts.append(_written(value))
            elif value != self.spec.parameter(name).default:
                parts.append(f"{name}={_written(value)}")
        return f"{self.name}({', '.join(parts + [child.text for child in self.children])})"


def read(text: str) -> list[Operation]:
    """The operations of a policy text, arguments checked, numbered as written. Raises DataError."""
    return _Reader(text).operations()


def nearest(word: str, names: list[str]) -> str:
    """", did you mean 'X'?" for the closest of `names`, or their list where none is close."""
    close = difflib.get_close_matches(word, names, 1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_written(part) for part in value)})"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


class _Reader:
    """Turns syntax into operations, numbering them in the order in which they are written."""

    def __init__(self, text: str) -> None:
        self.count = 0
        self.nodes = _syntax(text)

    def operations(self) -> list[Operation]:
        operations = []
        for node in self.nodes:
            if isinstance(node, ast.Name) and node.id in POLICIES:
                operations += [self.operation(inner, 0) for inner in _syntax(POLICIES[node.id])]
            else:
                operations.append(self.operation(node, 0))
        return operations

    def operation(self, node: ast.expr, depth: int) -> Operation:
        if isinstance(node, ast.Name):
            names = sorted([*BY_NAME, *POLICIES])
            if node.id in POLICIES:
                raise DataError(f"policy: '{node.id}' is a named policy, which stands for several operations and only "
                                "outside of maybe(...) and one_of(...); write its operations there")
            hint = f"write {node.id}(...)" if node.id in BY_NAME else nearest(node.id, names)
            raise DataError(f"policy: '{node.id}' is no operation with arguments; {hint}")
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            raise DataError(f"policy: expected operations such as crop(pad_px=4), flip(); got '{_source(node)}'")
        name = node.func.id
        if name not in BY_NAME:
            raise DataError(f"policy: unknown operation '{name}'; {nearest(name, sorted(BY_NAME))}")
        position, self.count = self.count, self.count + 1
        if self.count > MAX_OPERATIONS:
            raise DataError(f"policy: more than {MAX_OPERATIONS} operations; write fewer")
        if depth > MAX_NESTING:
            raise DataError(f"policy: {name}(...) is nested deeper than {MAX_NESTING} wrappers; write it flatter")
        spec = BY_NAME[name]
        if spec.room == "wrapper":
            return self.wrapper(node, spec, position, depth)
        if node.args:
            example = spec.parameters[0].name if spec.parameters else None
            hint = f"name the parameter, e.g. {name}({example}=...)" if example else f"write {name}()"
            raise DataError(f"policy: {name}({_source(node.args[0])}): {hint}")
        return Operation(name, _arguments(node, spec), (), position)

    def wrapper(self, node: ast.Call, spec: Spec, position: int, depth: int) -> Operation:
        needed = 2 if spec.name == "one_of" else 1
        if node.keywords or len(node.args) < 1 + needed:
            raise DataError(f"policy: {spec.name}(...) takes a probability and at least {needed} operation(s), "
                            f"e.g. {spec.name}(.5, flip(p=1){', gray(p=1)' * (needed - 1)})")
        p = _checked(node.args[0], spec.name, spec.parameters[0])
        children = tuple(self.operation(child, depth + 1) for child in node.args[1:])
        for child in children:
            if child.name == "resize":
                raise DataError(f"policy: resize(...) inside {spec.name}(...): the size must be one for all images; "
                                "move it out")
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
            hint = nearest(str(keyword.arg), names) if names else "it takes none"
            raise DataError(f"{spec.name}: unknown parameter '{keyword.arg}'; {hint}")
        if keyword.arg in given:
            raise DataError(f"{spec.name}: parameter '{keyword.arg}' is given twice; keep one")
        given[keyword.arg] = _checked(keyword.value, spec.name, spec.parameter(keyword.arg))
    arguments = []
    for parameter in spec.parameters:
        if parameter.name not in given and parameter.default is None:
            raise DataError(f"{spec.name}: {parameter.name} is needed, e.g. {spec.name}({parameter.name}=...) "
                            f"in {parameter.unit}")
        arguments.append((parameter.name, given.get(parameter.name, parameter.default)))
    return tuple(arguments)


def _checked(node: ast.expr, name: str, parameter: Parameter) -> object:
    """The value of one argument, in its range, or a DataError that says what is allowed."""
    what = f"{name}({parameter.name}={_source(node)})"
    if parameter.kind == "choice":
        word = node.id if isinstance(node, ast.Name) else _literal(node)
        if word not in parameter.choices:
            raise DataError(f"{what}: {parameter.name} must be one of {', '.join(parameter.choices)}")
        return word
    value = _literal(node)
    allowed = f"from {_written(float(parameter.low))} to {_written(float(parameter.high))} ({parameter.unit})"
    if parameter.kind == "int":
        if type(value) is not int or not parameter.low <= value <= parameter.high:
            raise DataError(f"{what}: {parameter.name} must be an integer {allowed}")
        return value
    if parameter.kind == "int_interval":
        pair = value if isinstance(value, tuple) else (value, value)
        if not (len(pair) == 2 and all(type(part) is int and _within(part, parameter) for part in pair)
                and pair[0] <= pair[1]):
            raise DataError(f"{what}: {parameter.name} must be an integer or a pair (low, high), {allowed}")
        return value
    if parameter.kind == "interval" and isinstance(value, tuple):
        if len(value) != 2 or not all(_within(part, parameter) for part in value) or value[0] > value[1]:
            raise DataError(f"{what}: {parameter.name} must be (low, high), both {allowed}, low <= high")
        return tuple(float(part) for part in value)
    low = 0.0 if parameter.single != "exact" else parameter.low
    high = min(parameter.high, 1.0) if parameter.single == "factor" else parameter.high
    if not (_within(value, parameter) and low <= value <= high):
        pair = " or a pair (low, high)" if parameter.kind == "interval" else ""
        raise DataError(f"{what}: {parameter.name} must be a number from {_written(float(low))} to "
                        f"{_written(float(high))} ({parameter.unit}){pair}")
    return float(value)


def _within(value: object, parameter: Parameter) -> bool:
    return type(value) in (int, float) and parameter.low <= value <= parameter.high


def _literal(node: ast.expr) -> object:
    """A number, a string or a flat tuple of numbers; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return -node.operand.value if type(node.operand.value) in (int, float) else None
    if isinstance(node, ast.Tuple | ast.List) and not any(isinstance(part, ast.Tuple | ast.List) for part in node.elts):
        return tuple(_literal(part) for part in node.elts)
    return None
