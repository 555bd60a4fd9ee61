"""The trials of a sweep: one recipe with varied settings, judged on held-out images, never on the test set.

Optuna proposes and prunes. Its SQLite file is a sweep's only state, from which a killed sweep resumes. Proposals depend
on the seed and the ended trials, so a resumed sweep tries the same points.
"""

import contextlib
import json
import math
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
from engine.training.criterion import CRITERIA, Criterion
from engine.training.nan_guard import NotFinite
from engine.tuning.space import Space, choose, own_values, sampled_values
from loaders.common.errors import DataError
from recipes.settings.load import Recipe, RecipeError, as_plain

STUDY = "cadence"
# How many trials, the recipe's among them, run before the sampler proposes and the pruner prunes any.
RANDOM_TRIALS = 4
# No trial is pruned in this first share of its epochs, when a high learning rate looks worse than it is.
UNPRUNED_SHARE = 1 / 3
# Settings that change neither training nor measuring: they may change when a sweep resumes.
FREE_TO_CHANGE = ("run.", "checkpoint.", "log.", "data.root", "data.cache", "data.download", "data.workers",
                  "data.batches_ahead", "train.threads")


@dataclass(frozen=True)
class Sweep:
    """A search: `recipe` has its own values; `load(settings)` returns it with others."""

    recipe: Recipe
    load: Callable[[Mapping[str, object]], Recipe]
    space: Space
    seed: int
    pruning: bool

    @property
    def criterion(self) -> Criterion:
        """What the trials are judged by, on held-out images."""
        return CRITERIA[self.recipe.values["eval.best_by"]]

    def identity(self) -> dict:
        """The values that must be the same for a sweep to resume."""
        values = {path: as_plain(value) for path, value in self.recipe.values.items()
                  if not path.startswith(FREE_TO_CHANGE)}
        if values["train.stages"]:
            # They say it; sweeps of former versions did not.
            del values["train.epochs"]
        return {"recipe": self.recipe.name, "settings": values, "space": [repr(one) for one in self.space],
                "seed": self.seed, "pruning": self.pruning}


def open_study(sweep: Sweep, storage: Path) -> optuna.Study:
    """The sweep's study in the SQLite file `storage`, created if missing, with interrupted trials marked as failed;
    EngineError if the file is not one of Optuna's or holds another sweep."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warmup = int(sweep.recipe.epochs * UNPRUNED_SHARE)
    pruner = optuna.pruners.MedianPruner(RANDOM_TRIALS, warmup) if sweep.pruning else optuna.pruners.NopPruner()
    url = URL.create("sqlite", database=str(storage.absolute())).render_as_string(hide_password=False)
    try:
        study = optuna.create_study(storage=url, study_name=STUDY, load_if_exists=True, pruner=pruner,
                                    direction="minimize" if sweep.criterion.lower else "maximize")
    except (optuna.exceptions.OptunaError, SQLAlchemyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise EngineError(f"{storage} cannot be used ({reason}): give another file with --storage") from None
    own, stored = json.loads(json.dumps(sweep.identity())), study.user_attrs.get("mark")
    if stored is None:
        study.set_user_attr("mark", own)
        stored = own
    # Former versions judged by top-1 and did not say so.
    stored = {**stored, "settings": {"eval.best_by": "top1", **stored["settings"]}}
    if stored != own:
        raise EngineError(f"{storage} holds a sweep with {first_difference(stored, own)}: resume it with the same "
                          "command, or choose another folder with --out")
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def first_difference(stored: dict, own: dict) -> str:
    """The first difference between two sweeps' identities, in words."""
    before, now = ({**each["settings"], **each} for each in (stored, own))
    for name in ("recipe", "seed", "pruning", *sorted({*stored["settings"], *own["settings"]})):
        if before.get(name) != now.get(name):
            return f"another {name} ({before.get(name)}, here {now.get(name)})"
    return "another space"


def ended_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were not interrupted, in order: finished, pruned, or refused with a reason."""
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return [trial for trial in ended if trial.state != TrialState.FAIL or "reason" in trial.user_attrs]


def run_trials(sweep: Sweep, study: optuna.Study, trials: int, screen: Screen,
               on_trial: Callable[[FrozenTrial], None]) -> None:
    """Run trials until `trials` have ended, the recipe's own settings first; call `on_trial` after each. Raises
    Interrupted after a signal, and the error of the recipe's own settings if they do not work."""
    with Signals() as signals:
        while (number := len(ended_trials(study))) < trials:
            trial = next_trial(sweep, study, number)
            try:
                run_trial(sweep, trial, number, screen, signals)
            except BaseException:
                study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
                raise
            on_trial(study.trials[trial.number])


def next_trial(sweep: Sweep, study: optuna.Study, number: int) -> Trial:
    """A new trial after `number` ended ones; the first one has the recipe's own settings."""
    # The number is part of the seed, so that an interrupted trial is proposed again unchanged.
    seed = int(np.random.SeedSequence([sweep.seed, number]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS, multivariate=False,
                                               constant_liar=False)
    if number == 0 and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial({one.path: value for one, value in sampled_values(sweep.space, sweep.recipe).items()})
    trial = study.ask()
    trial.set_user_attr("number", number)
    return trial


def run_trial(sweep: Sweep, trial: Trial, number: int, screen: Screen, signals: Signals) -> None:
    """Train one trial; record its settings and how it ended in the study."""
    study, recipe = trial.study, sweep.recipe
    try:
        if number == 0:
            settings = own_values(sweep.space, recipe)
            for one in sampled_values(sweep.space, recipe):
                one.suggest(trial)
        else:
            settings = choose(trial, sweep.space, recipe)
            recipe = sweep.load(settings)
            settings = {path: recipe.values[path] for path in settings}
        trial.set_user_attr("settings", {path: as_plain(value) for path, value in settings.items()})
        study.tell(trial, train(recipe, trial, screen, signals))
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except NotFinite:
        # The sampler learns from a pruned trial to stay away, but not from a failed one.
        trial.set_user_attr("reason", "the loss was not finite")
        study.tell(trial, state=TrialState.PRUNED)
    except (RecipeError, EngineError, DataError, RuntimeError) as error:
        # A CPU without enough memory raises a plain RuntimeError.
        if number == 0:
            raise
        trial.set_user_attr("reason", " ".join(str(error).split()))
        study.tell(trial, state=TrialState.FAIL)


def train(recipe: Recipe, trial: Trial, screen: Screen, signals: Signals) -> float:
    """Train `recipe` to its end without the test set; its eval.best_by on the held-out images after the last epoch.

    Raises optuna.TrialPruned if half of the finished trials were better at an epoch, Interrupted after a signal,
    NotFinite where that value is not finite.
    """
    with contextlib.closing(build(recipe, on_progress=screen.writing, on_warning=screen.say)) as run:
        if run.watched != "validation":
            raise EngineError("a sweep chooses on held-out images: set data.validation above 0")
        loop = run.loop

        def between_steps(loop):
            screen.step(loop)
            signals.check()

        loop.between_steps = between_steps
        screen.starts(loop)
        for record in loop.run():
            value = getattr(loop.last_watched, loop.criterion.name)
            if not math.isfinite(value):
                raise NotFinite(loop.steps_in(record.epoch) - 1, record.epoch)
            trial.report(value, record.epoch)
            if record.epoch + 1 < loop.epochs and trial.should_prune():
                raise optuna.TrialPruned
        return value


def importance(study: optuna.Study) -> dict[str, float]:
    """Setting -> its share, adding up to 1, in whether a trial is in the best quarter; largest first.

    By PED-ANOVA (Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces", IJCAI 2023). Empty with fewer than RANDOM_TRIALS finished trials.
    """
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(finished) < RANDOM_TRIALS or not any(trial.params for trial in finished):
        return {}
    with warnings.catch_warnings():
        # It warns about few trials; the picture shows how many there were.
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25))
    return {path: float(share) for path, share in shares.items()}
