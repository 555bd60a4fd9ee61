"""A checkpoint's content with nothing in it, for tests that care for some of its entries only."""

from dataclasses import asdict

from engine.training.loop import Progress

BLANK = {"recipe": "", "values": {}, "class_names": [], "resolution": 0, "model": {}, "optimizer": {}, "scaler": {},
         "ema": None, "lookahead": None, "updates": 0, "updates_done": 0, "progress": asdict(Progress()),
         "processes": [{"rng": {}, "tally": [0.0] * 3}], "history": [], "data": {}}
