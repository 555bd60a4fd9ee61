"""An empty checkpoint's content, for tests that need only some of its entries."""

from dataclasses import asdict

from engine.training.loop import Progress

BLANK = {"recipe": "", "values": {}, "class_names": [], "resolution": 0, "model": {}, "optimizer": {}, "scaler": {},
         "ema": None, "lookahead": None, "updates": 0, "updates_done": 0, "progress": asdict(Progress()),
         "processes": [{"rng": {}, "tally": [0.0] * 3}], "history": [], "data": {}}
