"""The notebook: its cells run from top to bottom, and it is kept with small outputs and without errors."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "tour.ipynb"
SMALL = """
from pathlib import Path
folder = Path({folder!r})
data_settings = ["--data.train_count=600", "--data.test_count=200", "--data.resolution=16",
                 "--data.cache=" + str(folder / "cache")]
train_settings = ["--train.epochs=2", "--train.batch=50", "--model.width=4", "--train.device=cpu",
                  "--train.precision=fp32"]
"""


@pytest.fixture(scope="module")
def cells():
    """The code cells."""
    return [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_kept_as_it_ran(cells):
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stream", "display_data"}
    assert all(output.get("name") != "stderr" for cell in cells for output in cell["outputs"])
    assert NOTEBOOK.stat().st_size < 1_000_000


@pytest.mark.slow("runs every cell, and one trains")
def test_the_cells_run_from_top_to_bottom(cells, tmp_path, capsys):
    pytest.importorskip("IPython")
    assert cells[0]["metadata"]["tags"] == ["parameters"]
    names = {"__name__": "tour"}
    exec(SMALL.format(folder=str(tmp_path)), names)
    for cell in cells[1:]:
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    shown = capsys.readouterr().out
    assert shown.count("held-out top-1") == 2 and "worst classes first" in shown
    digests = [line.split()[0] for line in shown.splitlines() if line.endswith("540 samples")]
    assert len(digests) == 3 and len(set(digests)) == 1
    assert (tmp_path / "run" / "summary.json").is_file() and (tmp_path / "policies.png").is_file()
