"""The verdict on given figures: which part, which words, which settings, what they gain."""

from dataclasses import replace

import pytest

from engine.diagnostics.advice import LIMITS, Advice, Rates, RunFacts, bound_of, judge
from recipes.settings.load import load

CPU = RunFacts(device="cpu", feed="stream", resident_fits=False, cores=4, workers=1, threads=4, samples=45_000,
               batch=128, accumulate=1, mode="eager", precision="fp32", channels_last=True, limit="arithmetic",
               reached=0.6, ceilings={"fp32": 1500.0})
GPU = RunFacts(device="cuda", feed="stream", resident_fits=True, cores=16, workers=16, threads=16, samples=45_000,
               batch=128, accumulate=1, mode="graph", precision="bf16", channels_last=True, limit="memory", reached=0.5,
               ceilings={"bf16": 90_000.0, "fp32": 20_000.0})
STEP = Rates(14_200.0, None, 812.0, 801.0, 0.02)
FEED = Rates(1_000.0, None, 8_000.0, 950.0, 0.9)
GPU_STEP = Rates(60_000.0, 400_000.0, 20_000.0, 19_800.0, 0.01)
GPU_FEED = Rates(10_000.0, 400_000.0, 30_000.0, 9_900.0, 0.6)
GPU_TRANSFER = Rates(60_000.0, 5_000.0, 20_000.0, 4_900.0, 0.7)


def advised(rates, facts):
    return {each.setting: each.at_most_images_s for each in judge(rates, facts).advice}


@pytest.mark.parametrize("rates, bound", [
    (FEED, "feed"), (STEP, "step"), (GPU_FEED, "feed"), (GPU_TRANSFER, "transfer"), (GPU_STEP, "step"),
    (Rates(1_000.0, None, 1_100.0, 750.0, 0.4), "feed"), (Rates(1_000.0, None, 1_100.0, 749.0, 0.4), "shared"),
    (Rates(1_100.0, None, 1_000.0, 500.0, 0.4), "shared"), (Rates(5.0, 4.0, 3.0, 9.0, 0.0), "step"),
    (Rates(20_244.0, None, 891.0, 434.0, 0.02), "step"), (Rates(20_244.0, None, 891.0, 434.0, 0.1), "shared"),
])
def test_the_slowest_part_bounds_the_run_where_all_together_come_near_it(rates, bound):
    assert bound_of(rates) == judge(rates, CPU).bound == bound


def test_the_sentence_of_a_step():
    assert judge(STEP, CPU).sentence == (
        "The step bounds the run: alone the feed makes 14,200 images/s, the step 812; together they make 801, and 2% "
        "of the time is spent waiting for data. Within the step arithmetic is the limit: it reaches 60% of the matrix "
        "rate measured here.")


def test_the_sentence_of_a_feed_does_not_mention_the_step():
    said = judge(FEED, CPU).sentence
    assert said.startswith("The feed bounds the run: alone the feed makes 1,000 images/s, the step 8,000; together")
    assert "90% of the time" in said and "Within the step" not in said


def test_the_sentence_of_a_transfer_names_all_three():
    said = judge(GPU_TRANSFER, GPU).sentence
    assert said.startswith("The transfer bounds the run: alone the feed makes 60,000 images/s, the transfer 5,000, the "
                           "step 20,000;")


@pytest.mark.parametrize("facts, what", [(CPU, "the cores"), (GPU, "the host"),
                                         (replace(GPU, feed="resident"), "the GPU")])
def test_parts_that_share_something_say_what_and_how_much(facts, what):
    said = judge(Rates(1_000.0, None, 1_100.0, 600.0, 0.4), facts).sentence
    assert said.startswith(f"The parts share {what} and slow each other:") and "60% of the slowest" in said


@pytest.mark.parametrize("limit", LIMITS)
def test_each_limit_of_the_step_has_its_words(limit):
    said = judge(STEP, replace(CPU, limit=limit, reached=0.25)).sentence
    other = "launches" if limit != "launches" else "memory"
    assert f"Within the step {limit} " in said and f"Within the step {other} " not in said
    assert ("25%" in said) == (limit != "launches")


def test_idle_cores_promise_what_all_of_them_could_do_and_no_more_than_the_step_makes():
    # On a CPU an image costs 1 / 1000 core seconds of the feed and 4 / 8000 of the step: 4 cores make 2667.
    assert advised(FEED, CPU) == {"data.workers=4": pytest.approx(4 / (1 / 1_000 + 4 / 8_000))}
    # Beside a GPU the cores are the feed's alone; the step is the next bound.
    few = replace(GPU, resident_fits=False, workers=2)
    assert advised(Rates(1_000.0, 9e5, 30_000.0, 990.0, 0.9), few) == {"data.workers=16": pytest.approx(8_000)}
    assert advised(GPU_FEED, few) == {"data.workers=16": 30_000.0}


def test_workers_are_not_advised_where_every_core_has_one_or_the_step_needs_them():
    assert not advised(FEED, replace(CPU, workers=4))
    # The step takes all four cores for 90 % of the time.
    assert not advised(Rates(1_000.0, None, 1_111.0, 950.0, 0.05), CPU)


def test_the_costliest_operation_is_named_with_its_gain():
    operations = "flip()", "blur(kernel_px=3, sigma=1)", "crop(pad_px=4)", "blur(kernel_px=3, sigma=1)"
    facts = replace(CPU, workers=4, operations=operations, gains=dict(zip(operations, (1.01, 2.5, 1.3), strict=False)))
    assert judge(FEED, facts).advice == (
        Advice("augment.policy without blur(kernel_px=3, sigma=1)",
               "the operation that costs most: augmenting is 2.50 x as fast without it", 2_500.0,
               {"augment.policy": "flip(), crop(pad_px=4), blur(kernel_px=3, sigma=1)"}),)
    alone = replace(facts, operations=operations[1:2], gains={operations[1]: 2.5})
    assert judge(FEED, alone).advice[0].changes == {"augment.policy": "none"}
    # The step is the next bound.
    assert advised(replace(FEED, step=2_000.0), facts) == {"augment.policy without blur(kernel_px=3, sigma=1)": 2_000.0}
    assert not advised(FEED, replace(facts, gains={"flip()": 1.01}))


def test_data_on_the_gpu_needs_neither_feed_nor_transfer():
    assert advised(GPU_FEED, GPU) == {"data.feed=resident": 30_000.0}
    assert advised(GPU_TRANSFER, GPU) == {"data.feed=resident": 20_000.0}
    assert not advised(GPU_TRANSFER, replace(GPU, resident_fits=False))


def test_a_step_bound_by_launches_is_to_be_captured_or_made_larger():
    facts = replace(GPU, mode="eager", limit="launches")
    assert advised(GPU_STEP, facts) == {"train.step=graph": 60_000.0, "train.batch=256": 60_000.0}
    assert "train.step=compile" in advised(GPU_STEP, replace(facts, accumulate=2))
    assert advised(GPU_STEP, replace(facts, mode="graph")) == {"train.batch=256": 60_000.0}
    assert not advised(GPU_STEP, replace(facts, mode="graph", samples=255))


def test_fast_arithmetic_is_advised_where_it_measures_faster_and_arithmetic_or_memory_is_the_limit():
    slow = replace(GPU, precision="fp32")
    assert advised(GPU_STEP, slow) == {"train.precision=bf16": 60_000.0}
    assert advised(replace(GPU_STEP, feed=1e6, transfer=1e6), slow) == {"train.precision=bf16": 90_000.0}
    assert "train.precision=bf16" not in advised(GPU_STEP, replace(slow, limit="overhead"))
    assert not advised(GPU_STEP, replace(slow, ceilings={"fp32": 20_000.0, "bf16": 23_000.0}))
    assert not advised(GPU_STEP, GPU)


def test_a_step_promises_no_more_than_the_measured_arithmetic_allows():
    facts = replace(CPU, channels_last=False)
    assert advised(STEP, facts) == {"train.channels_last=true": 1_500.0}
    assert advised(replace(STEP, feed=1_200.0), facts) == {"train.channels_last=true": 1_200.0}
    assert not advised(STEP, replace(facts, ceilings={"fp32": 830.0}))


def test_idle_cores_of_the_step_on_a_cpu():
    assert advised(STEP, replace(CPU, threads=2)) == {"train.threads=4": 1_624.0}
    assert not advised(GPU_STEP, replace(GPU, threads=2))


@pytest.mark.parametrize("limit, said", [("overhead", True), ("memory", True), ("arithmetic", False)])
def test_on_a_cpu_compiling_is_advised_where_operations_could_be_fused(limit, said):
    assert ("train.step=compile" in advised(STEP, replace(CPU, limit=limit))) == said


def test_parts_that_share_get_the_advice_of_all_each_once_and_the_best_first():
    rates = Rates(20_000.0, 300_000.0, 21_000.0, 9_000.0, 0.5)
    facts = replace(GPU, mode="eager", limit="launches", workers=8, operations=("gray(p=0.2)",),
                    gains={"gray(p=0.2)": 1.2})
    found = judge(rates, facts).advice
    assert [each.setting for each in found][0] in ("data.feed=resident", "data.workers=16", "augment.policy without "
                                                   "gray(p=0.2)")
    assert sorted(each.setting for each in found) == sorted([
        "data.feed=resident", "data.workers=16", "augment.policy without gray(p=0.2)", "train.step=graph",
        "train.batch=256"])
    promises = [each.at_most_images_s for each in found]
    assert promises == sorted(promises, reverse=True)


@pytest.mark.parametrize("rates, facts", [
    (FEED, CPU), (GPU_FEED, GPU), (STEP, replace(CPU, channels_last=False, threads=2, limit="overhead")),
    (GPU_STEP, replace(GPU, mode="eager", limit="launches")), (GPU_STEP, replace(GPU, precision="fp32"))])
def test_what_is_advised_is_a_setting_that_can_be_tried(rates, facts):
    found = judge(rates, facts).advice
    assert found
    for each in found:
        assert [f"{path}={value}" for path, value in each.changes.items()] == [each.setting]
        load("baseline", settings=each.changes)


def test_advice_without_a_gain_is_left_out():
    assert not judge(replace(GPU_STEP, feed=20_100.0), replace(GPU, mode="eager")).advice


def test_small_figures_keep_three_digits_and_small_shares_are_not_zero():
    said = judge(Rates(4_137.0, None, 5.1234, 5.0, 0.0), replace(CPU, limit="overhead", reached=0.004)).sentence
    assert "the step 5.12; together they make 5, and 0% of the time" in said and "leave it less than 1% of" in said


@pytest.mark.parametrize("together, disturbed", [(1_140.0, False), (1_160.0, True)])
def test_a_measurement_that_contradicts_itself_says_so(together, disturbed):
    said = judge(Rates(9_000.0, None, 1_000.0, together, 0.0), CPU).sentence
    assert said.endswith("on a quiet machine, or with more --seconds.") == disturbed
