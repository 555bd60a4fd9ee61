"""Mutants: what is changed and what is not, which tests judge them, and that the list of equivalent ones is kept."""

import ast
from pathlib import Path

import pytest

pytest.importorskip("mutmut", reason="needs the extra `mutants`")

from benchmarks import mutants  # noqa: E402
from benchmarks.mutation import verdicts  # noqa: E402
from benchmarks.mutation.changes import Mutant, mutants_of  # noqa: E402
from benchmarks.mutation.forks import preload  # noqa: E402
from benchmarks.mutation.trail import Trail, watch  # noqa: E402
from engine.common.errors import EngineError  # noqa: E402

SOURCE = '''"""A docstring."""

from math import pi

LIMIT: int = 3
NAMES = ("one", "%")


class Kept:
    half = 0.5

    @property
    def whole(self) -> "float":
        """Twice the half."""
        return self.half * 2


def pairs(first, second, least=1):
    if (len(first) > least
            and first):
        return list(zip(first, second, strict=True))
    return pi
'''


@pytest.fixture
def made(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(SOURCE)
    return mutants_of(path)


def test_constants_defaults_and_decorated_functions_are_changed_one_place_at_a_time(made):
    diffs = {mutant.diff for mutant in made}
    assert diffs >= {"-LIMIT: int = 3\n+LIMIT: int = 4", '-NAMES = ("one", "%")\n+NAMES = ("ONE", "%")',
                     '-NAMES = ("one", "%")\n+NAMES = ("one", "XX%XX")', "-half = 0.5\n+half = 1.5",
                     "-return self.half * 2\n+return self.half / 2",
                     "-def pairs(first, second, least=1):\n+def pairs(first, second, least=2):",
                     "-if (len(first) > least\n+if (len(first) >= least",
                     "-return list(zip(first, second, strict=True))\n+return list(zip(second, strict=True))"}
    programs = {ast.dump(ast.parse(mutant.source)) for mutant in made}
    assert len(programs) == len(made) and ast.dump(ast.parse(SOURCE)) not in programs


def test_annotations_imports_docstrings_and_strict_stay(made):
    for mutant in made:
        assert "from math import pi" in mutant.source and "LIMIT: int" in mutant.source
        assert '-> "float"' in mutant.source and '"""Twice the half."""' in mutant.source
        assert "strict=True" in mutant.source or "zip(" not in mutant.source


def test_a_mutant_knows_its_statement_and_what_holds_it(made):
    places = {(mutant.lines.start, mutant.lines.stop - 1, mutant.inside) for mutant in made}
    assert places == {(5, 5, ""), (6, 6, ""), (10, 10, "Kept"), (15, 15, "Kept.whole"), (18, 18, "pairs"),
                      (19, 20, "pairs"), (21, 21, "pairs")}


def test_the_tests_of_a_line_are_those_that_run_it_and_all_where_it_runs_on_import():
    path = Path("a.py")
    trail = Trail({"slow": 2.0, "quick": 0.1, "other": 0.5},
                               {path: {1: {""}, 2: {"slow", "quick"}, 3: {"other"}}})
    assert trail.tests_of(path, [1]) == ["quick", "other", "slow"] == trail.tests_of(path, [2, 3])
    assert trail.tests_of(path, [2]) == ["quick", "slow"] and trail.tests_of(path, [4]) == []


SHARDS = Path("loaders/feeds/shards.py")
TESTS = "tests/loaders/feeds/test_shards.py"


@pytest.mark.slow("forks processes that run tests")
def test_a_mutant_is_judged_by_the_tests_and_the_file_stays(monkeypatch):
    monkeypatch.setattr(verdicts, "SPARE_S", 2.0)
    before = SHARDS.read_text()
    trail = watch([SHARDS], [TESTS], "not alone")
    preload(trail.modules)
    whole = "each, over = divmod(count, ranks)"
    line = before[:before.index(whole)].count("\n") + 1
    assert whole in before and trail.tests_of(SHARDS, [line])

    def changed(new, at=line):
        return Mutant(before.replace(whole, new), range(at, at + 1), "block", "")

    tried = [changed(whole), changed(whole.replace("count,", "count + 1,")), changed("while True: pass"),
             changed("each, over = (", at=1), changed("each, over = 7", at=10_000)]
    told = []
    found = verdicts.judge(SHARDS, tried, trail, 2, lambda mutant, verdict: told.append(verdict))
    assert found == ["survived", "killed", "endless", "killed", "uncovered"]
    assert sorted(told) == sorted(found) and SHARDS.read_text() == before
    monkeypatch.setattr(verdicts, "run_pytest", lambda *_: 1)
    with pytest.raises(EngineError, match=r"shards\.py: tests of line \d+ fail in a process of their own, without any"):
        mutants.judged(SHARDS, trail, 2, 0, 1)


def test_an_entry_of_the_list_means_a_diff_or_all_inside_a_function():
    inner = Mutant("", range(1), "Graph.replay", "-a\n+b")
    assert mutants.covers({"inside": "Graph"}, inner) and mutants.covers({"inside": "Graph.replay"}, inner)
    assert not mutants.covers({"inside": "Gra"}, inner) and not mutants.covers({"inside": "Graph.replay.x"}, inner)
    assert mutants.covers({"diff": "-a\n+b\n"}, inner) and not mutants.covers({"diff": "-a\n+c"}, inner)


def test_each_entry_says_why_and_names_a_file_that_is_mutated():
    assert set(mutants.LISTED) <= set(mutants.FILES) and len(mutants.FILES) > 25
    for entry in (entry for entries in mutants.LISTED.values() for entry in entries):
        assert len(entry["why"]) > 10 and set(entry) - {"why"} in ({"diff"}, {"inside"})


def test_an_entry_without_its_mutant_is_refused(monkeypatch):
    monkeypatch.setattr(mutants, "LISTED", {str(SHARDS): [{"inside": "gone", "why": "it went long ago"}]})
    with pytest.raises(EngineError, match="equivalent.yaml: loaders/feeds/shards.py has no mutant 'gone': remove"):
        mutants.judged(SHARDS, Trail(), None, 0, 1)


def test_all_files_are_summed_and_an_unknown_one_is_refused():
    rows = [{"name": "a", "mutants": 9, "equivalent": 1, "tried": 4, "killed": 3, "survived": 1},
            {"name": "b", "mutants": 6, "equivalent": 0, "tried": 7, "killed": 7, "survived": 0}]
    assert mutants.summed(rows) == {"name": "all", "mutants": 15, "equivalent": 1, "tried": 11, "killed": 10,
                                    "survived": 1, "killed_percent": 90.9}
    with pytest.raises(EngineError, match="--files=engine/train.py must be one or more of"):
        mutants.main(["--files", "engine/train.py"])
