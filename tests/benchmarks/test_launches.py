"""What a batch's augmentation costs a GPU: within its budget, and no more than the rows say."""

import json
from pathlib import Path

import pytest

from benchmarks import launches
from benchmarks.launches import augmentation_counts, cases
from loaders.policy.policy import parse

ROWS = {row["name"]: row for row in
        json.loads((Path(launches.__file__).parent / "results/launches.json").read_text())}
CASES = {name: (policy, batch) for name, policy, batch in cases()}
# Policy -> the most launches, labels included, and bytes as a multiple of reading and writing each image once.
BUDGETS = {"baseline": (3, 1.2), "airbench": (3, 1.2), "resnet34": (6, 3), "cnn4": (6, 3), "cnn": (6, 3),
           "trivial_wide(), crop(pad_px=4), flip()": (6, 3)}


def test_each_recipe_has_a_row():
    assert set(CASES) == set(ROWS)


@pytest.mark.parametrize("name", CASES)
def test_no_policy_takes_more_than_its_row_says(name):
    policy, batch = CASES[name]
    row, counts = ROWS[name], augmentation_counts(policy, batch)
    assert (policy.text, batch) == (row["policy"], row["batch"])
    assert counts.launches <= row["launches"] and counts.bytes <= row["bytes"], counts.operations
    assert counts.copies == 0


@pytest.mark.parametrize("text", BUDGETS)
def test_policies_keep_to_their_budget(text):
    (most_launches, most), batch = BUDGETS[text], 512
    counts = augmentation_counts(parse(text), batch)
    assert counts.launches <= most_launches and counts.bytes <= most * 2 * 3072 * batch


def test_batched_torch_is_what_the_rows_compare_with():
    policy, batch = CASES["baseline"]
    counts = augmentation_counts(policy, batch, kernels=False)
    assert (counts.launches, counts.bytes) == (ROWS["baseline"]["batched_launches"], ROWS["baseline"]["batched_bytes"])


def test_a_pass_that_no_kernel_serves_is_counted_as_it_runs():
    served, unserved = (augmentation_counts(parse("crop(pad_px=4), equalize()", 64, width), 8) for width in (64, 65))
    assert served.launches == 2 and unserved.launches > 10
