"""Runs of a second: their settings, and how to resume one."""

from engine.cli.console import Screen
from engine.session.resume import resume_run

SMALL = {"data.train_count": 200, "data.test_count": 100, "data.resolution": 16, "train.batch": 50, "model.width": 4,
         "model.depth": 3, "model.dropout": 0.2, "train.epochs": 3, "train.device": "cpu", "train.threads": 1,
         "train.precision": "fp32", "run.report": False}


def resume(folder, said=None, **settings):
    """Resume the run in `folder` with other `settings`; `said` takes what the screen would say."""
    with Screen() as screen:
        if said is not None:
            screen.say = said.append
        return resume_run(str(folder), screen, settings=settings)
