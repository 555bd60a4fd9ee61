"""The mutants of a file: each is its source with one small change, by mutmut's operators over libcst.

mutmut's own runner changes functions alone; here constants, defaults, class bodies and decorated functions are changed
too. Left out is what no test could or should see: annotations, imports, docstrings, the `strict` of `zip`, and changes
that compile to the same program. A string becomes upper case, or where it has no letters gets XX around it.
"""

import ast
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import libcst as cst
from libcst.metadata import (
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    WhitespaceInclusivePositionProvider,
)
from mutmut.mutation.mutators import mutation_operators, operator_string

PASSED_OVER = (cst.Annotation, cst.Import, cst.ImportFrom)


@dataclass(frozen=True)
class Mutant:
    """`source`: of the whole file. `lines`: those of the changed statement, from 1, without the body of a compound one.
    `inside`: the dotted name of the function or class that holds it, "" for the module. `diff`: -old and +new lines.
    """

    source: str
    lines: range
    inside: str
    diff: str


def mutants_of(path: Path) -> list[Mutant]:
    """All mutants of a file, in the order of its lines."""
    text = path.read_text("utf-8")
    wrapper = MetadataWrapper(cst.parse_module(text))
    places, parents = wrapper.resolve(PositionProvider), wrapper.resolve(ParentNodeProvider)
    spans, starts = wrapper.resolve(WhitespaceInclusivePositionProvider), [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    seen, made = {ast.dump(ast.parse(text))}, []
    for node in _walk(wrapper.module):
        for changed in _changes(node):
            # Spliced: libcst would write out the whole tree anew for each mutant.
            first, stop = (starts[place.line - 1] + place.column for place in (spans[node].start, spans[node].end))
            source = text[:first] + wrapper.module.code_for_node(changed) + text[stop:]
            try:
                program = ast.dump(ast.parse(source))
            except SyntaxError:
                continue
            if program not in seen:
                seen.add(program)
                made.append(Mutant(source, _statement(node, places, parents), _inside(node, parents),
                                   _diff(text, source)))
    return sorted(made, key=lambda mutant: mutant.lines.start)


def _walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    if not isinstance(node, PASSED_OVER) and not _is_strict(node):
        yield node
        for child in node.children:
            yield from _walk(child)


def _is_strict(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Arg) and node.keyword is not None and node.keyword.value == "strict"


def _changes(node: cst.CSTNode) -> Iterable[cst.CSTNode]:
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            changes = list(operator(node))
            if operator is operator_string:
                changes = changes[-1:]
            # Also a call's changes, of which one would drop or replace `strict`.
            yield from (changed for changed in changes if _stricts(changed) == _stricts(node))


def _stricts(node: cst.CSTNode) -> list[str]:
    if not isinstance(node, cst.Call):
        return []
    return [arg.value.value for arg in node.args if _is_strict(arg) and isinstance(arg.value, cst.Name)]


def _statement(node: cst.CSTNode, places, parents) -> range:
    while not isinstance(node, cst.SimpleStatementLine | cst.BaseCompoundStatement | cst.Module):
        node = parents[node]
    place = places[node]
    last = place.end.line if isinstance(node, cst.SimpleStatementLine) else places[node.body].start.line - 1
    return range(place.start.line, max(last, place.start.line) + 1)


def _inside(node: cst.CSTNode, parents) -> str:
    names = []
    while node in parents:
        node = parents[node]
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            names.append(node.name.value)
    return ".".join(reversed(names))


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return "\n".join(line[0] + line[1:].strip() for line in islice(lines, 3, None) if line[0] in "+-")
