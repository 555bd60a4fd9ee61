"""What tests of the engine share."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if "trained_run" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow("needs a trained run"))


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """The folder of a finished run of 4 epochs on shapes, with an average of its weights; tests only read it."""
    import torch

    from engine.build.devices import flush_denormals
    from engine.session.launch import start
    from recipes.settings.load import load

    folder, threads = tmp_path_factory.mktemp("trained"), torch.get_num_threads()
    settings = {"data.train_count": 2000, "data.test_count": 400, "data.resolution": 16,
                "data.cache": f"{folder}/cache", "model.width": 16, "model.depth": 3, "train.batch": 25,
                "augment.policy": "resize(px=24), flip()", "train.epochs": 4,
                "train.sizes": {0: 16, 1: 24}, "train.accumulate": 2, "train.device": "cpu", "train.threads": 1,
                "train.precision": "fp32", "average.ema": 0.9, "run.folder": f"{folder}/run", "run.report": False}
    assert start(load("quickstart", settings=settings)) == 0
    torch.set_num_threads(threads)
    flush_denormals(False)
    return folder / "run"


@pytest.fixture(scope="session")
def reported_run(trained_run):
    """That run with its report; tests only read it."""
    from engine.reporting.run_report import write_report

    write_report(trained_run)
    return trained_run


@pytest.fixture
def unpainted(monkeypatch):
    """Reports whose pictures, which take most of the time, are all the same."""
    from PIL import Image

    from engine.reporting import prediction_sections, run_sections

    def write(_, path):
        Image.new("RGB", (160, 90)).save(path)
        return path

    for module in (prediction_sections, run_sections):
        monkeypatch.setattr(module, "write_png", write)
    monkeypatch.setattr(prediction_sections, "write_confusion",
                        lambda matrix, names, folder: (None, write(matrix, folder / "confusion.png")))
    monkeypatch.setattr(run_sections, "draw_curves", lambda history, plots, _: write(history, plots / "overview.png"))
