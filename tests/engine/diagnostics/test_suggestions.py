"""What is suggested is what was measured: which settings are tried, in which order, for how long, and what is said."""

import io
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from engine.cli.console import Screen
from engine.common.errors import EngineError
from engine.diagnostics import suggestions, throughput
from engine.diagnostics.advice import advise
from engine.diagnostics.suggestions import Trial, helpful, show_trials, try_out
from engine.training.step import TrainStep
from loaders.feeds.stream import Stream
from recipes.settings.load import load
from tests.engine.small_runs import SMALL

THREADS, BATCH = advise("train.threads", 2, "idle cores", 9e9), advise("train.batch", 256, "fewer launches", 9e9)
COMPILE = advise("train.step", "compile", "fused", 9e9)


@pytest.fixture
def measured(monkeypatch):
    """Trials take 25 s each on a clock of their own, 400 s where they compile; what they were, in turn."""
    clock, tried = SimpleNamespace(now=0.0), []

    def measure(recipe, changes, seconds, screen):
        tried.append(dict(changes))
        clock.now += 400 if changes == COMPILE.changes else 25
        if changes == {"train.batch": "256"}:
            raise EngineError("no\n memory")
        return 1_000.0 + 100 * len(tried)

    monkeypatch.setattr(suggestions, "measure_with", measure)
    monkeypatch.setattr(suggestions.time, "monotonic", lambda: clock.now)
    return tried


def shown(use):
    stream = io.StringIO()
    with Screen(stream) as screen:
        result = use(screen)
    return result, " ".join(stream.getvalue().split())


def test_what_compiles_is_tried_last_and_the_recipe_itself_after_all(measured):
    (as_it_is, trials), said = shown(lambda screen: try_out(None, (COMPILE, BATCH, THREADS), 3.0, screen))
    assert measured == [{"train.batch": "256"}, {"train.threads": "2"}, {"train.step": "compile"}, {}]
    assert as_it_is == 1_400 and trials == [
        Trial("train.batch=256", "fewer launches", None, "no memory"), Trial("train.threads=2", "idle cores", 1_200.0),
        Trial("train.step=compile", "fused", 1_300.0)]
    assert said.startswith("trying what might help, about 3 s each, and a minute more for one that compiles; none is "
                           "begun after 60 s: train.step=compile, train.batch=256, train.threads=2")


def test_none_is_begun_when_the_time_is_over(measured):
    advice = [advise("data.workers", count, "", 9e9) for count in range(5)]
    (_, trials), _ = shown(lambda screen: try_out(None, advice, 3.0, screen))
    assert [trial.images_s is None for trial in trials] == [False, False, False, True, True]
    assert trials[3].problem == "no time was left" and measured[-1] == {} and len(measured) == 4


def test_without_advice_nothing_is_measured_or_said(measured):
    assert shown(lambda screen: try_out(None, (), 3.0, screen)) == ((0.0, []), "") and not measured


TRIALS = [Trial("a=1", "why a", 1_040.0), Trial("b=1", "why b", 1_500.0), Trial("c=1", "why c", None, "no memory"),
          Trial("d=1", "why d", 900.0), Trial("e=1", "why e", 4_321.0)]


def test_only_what_measured_clearly_faster_is_suggested_the_fastest_first():
    assert [trial.setting for trial in helpful(TRIALS, 1_000.0)] == ["e=1", "b=1"]
    _, said = shown(lambda screen: show_trials(TRIALS, 1_000.0, screen))
    table, rest = said.split("measured, and no faster")
    assert "e=1 │ 4,321 images/s together, 4.32 x as many: why e" in table
    assert table.index("e=1") < table.index("b=1") and "1,500 images/s together, 1.50 x as many" in table
    assert rest.startswith(" than 1,000 images/s: a=1 (1,040 images/s together), d=1 (900 images/s together)")
    assert "not measured: c=1 (no memory)" in rest and "known to help" not in rest


def test_where_nothing_is_faster_no_setting_is_named_as_help():
    _, said = shown(lambda screen: show_trials(TRIALS, 5_000.0, screen))
    assert "what helps" not in said and "no setting is known to help" in said
    assert shown(lambda screen: show_trials([], 0.0, screen))[1].startswith("no setting is known to help")


@pytest.mark.slow("builds runs")
def test_a_trials_rate_is_that_of_feed_and_step_of_a_run_with_the_setting(tmp_path, monkeypatch):
    clock, plain_epoch, plain_step = SimpleNamespace(now=0.0), Stream.epoch, TrainStep.__call__
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def after(seconds, result):
        clock.now += seconds
        return result

    @contextmanager
    def epoch(self, number, start=0):
        with plain_epoch(self, number, start) as batches:
            yield (after(1.0 if "blur" in self.policy.text else 0.25, batch) for batch in batches)

    monkeypatch.setattr(Stream, "epoch", epoch)
    monkeypatch.setattr(TrainStep, "__call__", lambda self, *batch: after(0.5, plain_step(self, *batch)))
    recipe = load("quickstart", settings={**SMALL, "data.cache": str(tmp_path),
                                          "augment.policy": "crop(pad_px=2), blur(kernel_px=3, sigma=1)"})
    advice = [advise("augment.policy", "crop(pad_px=2)", "", 9e9)]
    (as_it_is, trials), _ = shown(lambda screen: try_out(recipe, advice, 18.0, screen))
    # 180 images in four batches, of 1.5 s each as it is and of 0.75 s without the blur.
    assert (as_it_is, trials[0].images_s) == (pytest.approx(30), pytest.approx(60))


@pytest.mark.slow("builds runs")
def test_a_setting_that_cannot_be_is_told_in_one_line(tmp_path):
    recipe = load("quickstart", settings={**SMALL, "data.cache": str(tmp_path)})
    advice = [advise("train.batch", 65_000, "", 9e9), advise("train.step", "graph", "", 9e9)]
    (as_it_is, trials), _ = shown(lambda screen: try_out(recipe, advice, 0.1, screen))
    assert as_it_is > 0 and [trial.images_s for trial in trials] == [None, None]
    assert "larger than the" in trials[0].problem and "needs a GPU" in trials[1].problem
