"""The overview that `cadence` alone prints: a run from start to finish, as commands. Imports nothing slow."""

import re

OVERVIEW = """\
usage: cadence COMMAND ...

Trains image classifiers on CIFAR-sized data. A run from start to finish:

Is everything there?
  cadence doctor                               what is installed, and how to install what is missing

Look at your data
  cadence data explore --data.name=cifar10     classes, channels, samples, duplicate images
  cadence data sheet --recipe NAME             samples after augmentation

Plan
  cadence train --list                         the recipes
  cadence train --recipe NAME --plan           stages, rates, parameters, steps: without data
  cadence lr_find --recipe NAME                a learning rate, with its plot
  cadence doctor --recipe NAME                 what limits its speed, and what to change

Train
  cadence train --recipe NAME --data.root=DIR  into runs/NAME/TIME
  cadence train --resume RUN                   resumes after Ctrl-C, bit for bit

See the result
  cadence evaluate RUN                         accuracy, also per class, and the confusion matrix
  cadence report RUN                           one page: curves, mistakes, where the network looks
  cadence report --compare RUN RUN2            runs over each other, and how they differ

Use it
  cadence predict RUN IMAGE ...                the most probable classes of your own images
  cadence demo RUN                             a page on this machine to try it on

Share it
  cadence export RUN --format onnx             also safetensors, torch-export, int8; checked first
  cadence share RUN --push REPO_ID             to the Hugging Face Hub, with a model card

Go further
  cadence sweep --recipe NAME --space FILE     better settings, chosen on held-out images
  cadence reproduce RUN                        the same run again, compared with the first

cadence COMMAND --help shows all options of a command, which is python -m engine.COMMAND.
cadence --version shows the version.
Tab completion: eval "$(cadence completion bash)", or zsh; cadence completion fish | source"""
# Each command, a file in engine/, with the text of its first line above.
SUMMARIES: dict[str, str] = {}
for _command, _summary in re.findall(r"^  cadence (\w+).*?  +(.+)$", OVERVIEW, re.MULTILINE):
    SUMMARIES.setdefault(_command, _summary)
