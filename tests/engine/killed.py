"""engine.train whose process 1 is killed once, after a step: what torchrun starts in the test of restarts."""

import os
import signal
import sys

from engine.cli import parser
from engine.session import session
from engine.train import main

AFTER_STEPS = 9


def dying(self, loop):
    between_steps(self, loop)
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" \
            and loop.progress.steps_done == AFTER_STEPS:
        os.kill(os.getpid(), signal.SIGKILL)


between_steps, session.Session.between_steps = session.Session.between_steps, dying

if __name__ == "__main__":
    sys.exit(parser.run_command(main))
