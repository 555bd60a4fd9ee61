import itertools

import numpy as np

from engine.inference.held_out import Predictions
from engine.reporting import prediction_sections


def predictions_of(count=300, classes=5, seed=0):
    draws = np.random.default_rng(seed)
    return Predictions(draws.normal(size=(count, classes)).astype(np.float32) * 3, draws.integers(0, classes, count))


def test_probabilities_and_predicted_classes():
    predictions = predictions_of()
    logits = predictions.logits.astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(predictions.probabilities, expected, atol=1e-6)
    predictions = Predictions(np.array([[1, np.nan], [1000, 0], [-1000, -1000]], np.float32), np.array([0, 1, 1]))
    assert predictions.predicted.tolist() == [-1, 0, 0]
    assert predictions.probabilities.tolist() == [[0, 0], [1, 0], [0.5, 0.5]]


def test_confident_mistakes_and_confused_pairs_are_those_of_a_plain_loop():
    predictions = predictions_of()
    wrong = [i for i in range(300) if predictions.predicted[i] != predictions.labels[i]]
    wrong.sort(key=lambda i: -predictions.probabilities[i].max())
    assert prediction_sections.confident_mistakes(predictions).tolist() == wrong[:prediction_sections.MISTAKES]
    counts = {(a, b): sum((predictions.labels == a) & (predictions.predicted == b))
              for a, b in itertools.permutations(range(5), 2)}
    pairs = sorted(((a, b, n) for (a, b), n in counts.items()), key=lambda pair: -pair[2])
    assert prediction_sections.confused_pairs(predictions) == pairs[:prediction_sections.PAIRS]
