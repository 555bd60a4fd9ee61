"""The verdict on a run and its repetition, and its reasons, in words."""

import pytest

from engine.storage.reproduction import CIRCUMSTANCES, RESULTS, compare, show

SUMMARY = dict.fromkeys(CIRCUMSTANCES, "x") | {"weights_sha256": "a" * 64, "device": "cpu", "test_top1": 0.5,
                                               "train_seconds": 3.0, "wall_seconds": 5.0}
ROWS = [dict.fromkeys(RESULTS, 0.5) | {"epoch": epoch, "lr": 0.1 / (epoch + 1)} for epoch in range(3)]


def compared(summary=(), rows=ROWS, extended=False, deterministic=False, first=SUMMARY):
    return compare((first, ROWS), ({**first, **dict(summary)}, rows), extended, deterministic)


NOT, SAME = "not reproduced: other weights, and ", "the same results in each epoch"
KEPT = "reproduced: the same weights, bit for bit, and "
UNKNOWN = ["nothing that the run folders record explains it"]
OTHER = {"weights_sha256": "b" * 64}
LAST_APART = [*ROWS[:2], {**ROWS[2], "train_loss": 0.75}]
OTHER_RATES = [{**row, "lr": row["lr"] / 2, "train_loss": 0.25} for row in ROWS]


@pytest.mark.parametrize(("found", "verdict", "reasons"), [
    (compared(), KEPT + SAME, []),
    (compared(rows=LAST_APART), KEPT + "results that differ from epoch 3 on", UNKNOWN),
    (compared(OTHER), NOT + SAME, UNKNOWN),
    (compared(OTHER, LAST_APART), NOT + "results that differ from epoch 3 on", UNKNOWN),
    (compared(OTHER, ROWS[:2]), NOT + "results that differ from epoch 3 on", UNKNOWN),
    (compared(OTHER, OTHER_RATES), NOT + "results that differ from epoch 1 on",
     ["the learning rates differ (after epoch 1 0.1, again 0.05), as where a run was resumed with another "
      "train.epochs: its first epochs used the schedule of the former number"]),
    (compared(OTHER, OTHER_RATES, extended=True), NOT + "results that differ from epoch 1 on",
     ["the run was given more epochs after its end, which changed its schedule: its first epochs used a different "
      "one"]),
    (compared({**OTHER, "versions": "y", "hardware": "z"}), NOT + SAME, ["other circumstances: versions, hardware"]),
    (compared({**OTHER, "data": "train 0a1b2c3d"}), NOT + SAME, ["other circumstances: data"]),
    (compared(OTHER, first=SUMMARY | {"device": "cuda"}), NOT + SAME,
     ["a GPU need not give the same bits without train.deterministic=true"]),
    (compared(OTHER, first=SUMMARY | {"device": "cuda"}, deterministic=True), NOT + SAME, UNKNOWN),
], ids=range(11))
def test_the_verdict_and_its_reasons(found, verdict, reasons, capsys):
    assert (found["verdict"], found["reasons"]) == (verdict, reasons)
    show(found)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1 - len(reasons):] == [verdict, *(f"reason: {reason}" for reason in reasons)]
    assert any("train seconds" in line and "3.0" in line for line in lines)
    assert any("wall seconds" in line and "5.0" in line for line in lines)


def test_a_run_of_a_former_version_has_no_wall_seconds(capsys):
    former = {key: value for key, value in SUMMARY.items() if key != "wall_seconds"}
    show(compare((former, ROWS), (SUMMARY, ROWS), False, False))
    assert any("wall seconds" in line and " - " in line for line in capsys.readouterr().out.splitlines())
