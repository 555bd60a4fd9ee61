"""Two stages, and settings written as keywords."""

HEAD = {"name": "head", "epochs": 2, "lrs": {"fc": 0.1}}
ALL = {"name": "all", "epochs": 3, "lrs": {"fc": 0.1, "*.bias": 2.0, "*": 1e-4}, "frozen": ["conv1", "bn?.*"],
       "moving_statistics": True}


def own(**changes):
    return {path.replace("__", "."): value for path, value in changes.items()}
