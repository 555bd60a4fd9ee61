"""A sweep: trials of one recipe, each with other settings, judged on held-out images, never on the test set.

Optuna proposes and prunes; its SQLite file is all that a sweep remembers, so one that was killed goes on from there.
What it proposes depends on the seed and the trials that are done, not on when they were: killed and resumed, a sweep
tries the same points.
"""

import contextlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from engine.build.run import build
from engine.cli.console import Screen
from engine.cli.signals import Signals
from engine.common.errors import EngineError
from engine.training.nan_guard import NotFinite
from engine.tuning.space import Conditions, Space, choose, own
from loaders.common.errors import DataError
from recipes.settings.load import Recipe, RecipeError, as_plain

STUDY = "cadence"
# Points drawn at random, the recipe's own among them, before any is proposed; and trials before any is pruned.
RANDOM_TRIALS = 4
# No trial is pruned in the first part of its epochs: there a high learning rate looks worse than it is.
UNPRUNED_SHARE = 1 / 3
# Settings that do not change what is trained or how it is measured: they may differ when a sweep goes on.
ELSEWHERE = ("run.", "checkpoint.", "log.", "data.root", "data.cache", "data.download", "data.workers",
             "data.batches_ahead", "train.threads")


@dataclass(frozen=True)
class Sweep:
    """What is searched: `recipe` is the one without any of the space's settings changed, `load` changes some."""

    recipe: Recipe
    load: Callable[[Mapping[str, object]], Recipe]
    space: Space
    seed: int
    pruning: bool

    def mark(self) -> dict:
        """What must be the same for a sweep to go on, as plain values."""
        values = {path: as_plain(value) for path, value in self.recipe.values.items()
                  if not path.startswith(ELSEWHERE)}
        return {"recipe": self.recipe.name, "settings": values, "space": [repr(one) for one in self.space],
                "seed": self.seed, "pruning": self.pruning}


def open_study(sweep: Sweep, storage: Path) -> optuna.Study:
    """The sweep's study in the SQLite file `storage`, made where there is none; its trials that a kill cut short are
    marked as failed.

    Raises EngineError where the file is none of Optuna's or holds a sweep of something else.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warmup = int(sweep.recipe.epochs * UNPRUNED_SHARE)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=warmup) if sweep.pruning else \
        optuna.pruners.NopPruner()
    url = URL.create("sqlite", database=str(storage.absolute())).render_as_string(hide_password=False)
    try:
        study = optuna.create_study(storage=url, study_name=STUDY, direction="maximize", load_if_exists=True,
                                    pruner=pruner)
    except (optuna.exceptions.OptunaError, SQLAlchemyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise EngineError(f"{storage} cannot be used ({reason}): give another file with --storage") from None
    mark, there = json.loads(json.dumps(sweep.mark())), study.user_attrs.get("mark")
    if there is None:
        study.set_user_attr("mark", mark)
    elif there != mark:
        raise EngineError(f"{storage} holds a sweep with {difference(there, mark)}: go on with the same command, or "
                          "choose another folder with --out")
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def difference(there: dict, mark: dict) -> str:
    """The first thing that two marks differ in, in words."""
    for name in ("recipe", "seed", "pruning"):
        if there.get(name) != mark[name]:
            return f"another {name} ({there.get(name)}, here {mark[name]})"
    for path in sorted({*there.get("settings", {}), *mark["settings"]}):
        before, now = there.get("settings", {}).get(path), mark["settings"].get(path)
        if before != now:
            return f"another {path} ({before}, here {now})"
    return "another space"


def done(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that came to an end by themselves, in their order: finished, pruned or refused with a reason."""
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return [trial for trial in ended if trial.state != TrialState.FAIL or "reason" in trial.user_attrs]


def go_on(sweep: Sweep, study: optuna.Study, trials: int, screen: Screen, told: Callable[[FrozenTrial], None]) -> None:
    """Run trials until `trials` are done, the recipe's own settings first; `told` is given each as it ends.

    Raises Interrupted after a signal, and what came where the recipe's own settings don't work.
    """
    with Signals() as signals:
        while (number := len(done(study))) < trials:
            trial = ask(sweep, study, number)
            ended = False
            try:
                run_trial(sweep, trial, number, screen, signals)
                ended = True
            finally:
                if not ended:
                    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            told(study.trials[trial.number])


def ask(sweep: Sweep, study: optuna.Study, number: int) -> Trial:
    """A new trial, the `number`-th (from 0) of those that are done; the first one has the recipe's own settings."""
    # Of the seed and the number, so that a trial that was cut short is proposed again as it was.
    seed = int(np.random.SeedSequence([sweep.seed, number]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS, multivariate=False,
                                               constant_liar=False)
    if number == 0 and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        values = own(sweep.space, sweep.recipe)
        study.enqueue_trial({one.path: one.recorded(values[one.path]) for one in sweep.space
                             if one.path in values and one.holds(values[one.path])})
    trial = study.ask()
    trial.set_user_attr("number", number)
    return trial


def run_trial(sweep: Sweep, trial: Trial, number: int, screen: Screen, signals: Signals) -> None:
    """Train one trial and tell the study how it ended; its own settings are kept with it."""
    study, recipe = trial.study, sweep.recipe
    try:
        if number == 0:
            settings = own(sweep.space, recipe)
            for one in sweep.space:
                if one.path in settings and one.holds(settings[one.path]):
                    one.suggest(trial)
        else:
            settings = choose(trial, sweep.space, recipe, Conditions())
            recipe = sweep.load(settings)
            settings = {path: recipe.values[path] for path in settings}
        trial.set_user_attr("settings", {path: as_plain(value) for path, value in settings.items()})
        study.tell(trial, train(recipe, trial, screen, signals))
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except NotFinite:
        # As bad as can be, and something to learn from: a refusal would be tried again nearby.
        trial.set_user_attr("reason", "the loss was no finite number")
        study.tell(trial, state=TrialState.PRUNED)
    except (RecipeError, EngineError, DataError, RuntimeError) as error:
        # Where a CPU's memory does not do that is a plain RuntimeError.
        if number == 0:
            raise
        trial.set_user_attr("reason", " ".join(str(error).split()))
        study.tell(trial, state=TrialState.FAIL)


def train(recipe: Recipe, trial: Trial, screen: Screen, signals: Signals) -> float:
    """Train `recipe` to its end: the validation top-1 (share of 1) after the last epoch; the test set is not touched.

    Raises optuna.TrialPruned where half of the finished trials were better by then, Interrupted after a signal.
    """
    with contextlib.closing(build(recipe, on_progress=screen.writing, on_warning=screen.say)) as run:
        if run.watched != "validation":
            raise EngineError("a sweep chooses on held-out images: set data.validation above 0")
        loop, batch = run.loop, recipe.section("train").batch

        def between_steps(loop):
            progress = loop.progress
            screen.step(progress.epoch, loop.epochs, progress.step, len(loop.feed), loop.step.tally, batch)
            signals.check()

        loop.between_steps = between_steps
        for record in loop.run():
            trial.report(record.watched_top1, record.epoch)
            if record.epoch + 1 < loop.epochs and trial.should_prune():
                raise optuna.TrialPruned
        return record.watched_top1


def importance(study: optuna.Study) -> dict[str, float]:
    """How much each setting decided whether a trial was among the best quarter, adding up to 1, largest first.

    By PED-ANOVA (Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces", IJCAI 2023). Empty where fewer than RANDOM_TRIALS trials finished.
    """
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(finished) < RANDOM_TRIALS or not any(trial.params for trial in finished):
        return {}
    with warnings.catch_warnings():
        # That few trials say little, the picture tells by how many there are.
        warnings.simplefilter("ignore")
        found = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25))
    return {path: float(share) for path, share in found.items()}
