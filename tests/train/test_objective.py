from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics as sk

from dlcore import functional as F
from dlcore import nn, train
from dlcore.data import HostData
from dlcore.train import metrics

LAYER = nn.linear(4, 3)
OBJECTIVE = train.classification(LAYER)
DETAILED = train.classification(
    LAYER,
    metrics={"confusion": metrics.confusion_of(3), "f1": metrics.confusion_of(3, metrics.F1)},
)


def applied(params, x):
    """A linear layer's output, in float64."""
    kernel, bias = (np.asarray(params[name], np.float64) for name in ("kernel", "bias"))
    return x @ kernel + bias


@functools.cache
def setup():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(101, 4)).astype(np.float32)
    y = generator.integers(0, 3, 101).astype(np.int32)
    params, state = LAYER.init(jax.random.key(0))
    return params, state, {"x": x, "y": y}


@pytest.mark.parametrize("batch_size", [1, 7, 50, 101, 1000])
def test_evaluation_is_exact_for_every_batch_size(batch_size):
    params, state, data = setup()
    found = train.evaluate(DETAILED, params, state, data, batch_size=batch_size)
    logits = applied(params, data["x"])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    guess = logits.argmax(-1)
    assert found["loss"] == pytest.approx(sk.log_loss(data["y"], np.exp(log_p)), rel=1e-5)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(data["y"], guess))
    assert found["f1"] == pytest.approx(sk.f1_score(data["y"], guess, average="macro"), rel=1e-5)
    np.testing.assert_array_equal(found["confusion"], sk.confusion_matrix(data["y"], guess))


def test_weights_count_examples():
    params, state, data = setup()
    weight = np.r_[np.ones(60), np.zeros(41)].astype(np.float32)
    weighted = train.evaluate(OBJECTIVE, params, state, {**data, "weight": weight}, batch_size=40)
    part = {name: leaf[:60] for name, leaf in data.items()}
    alone = train.evaluate(OBJECTIVE, params, state, part)
    assert weighted["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert weighted["accuracy"] == pytest.approx(alone["accuracy"])


def test_the_weighted_loss_is_what_is_minimised():
    """Doubling an example's weight is having it twice."""
    params, state, data = setup()
    data = {name: leaf[:8] for name, leaf in data.items()}
    twice = {name: np.concatenate([leaf, leaf[:1]]) for name, leaf in data.items()}
    weight = np.r_[2.0, np.ones(7)].astype(np.float32)
    gradient = jax.jit(jax.grad(lambda p, batch: OBJECTIVE(p, state, batch)[0]))
    for a, b in zip(
        jax.tree.leaves(gradient(params, {**data, "weight": weight})),
        jax.tree.leaves(gradient(params, twice)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_binary_classification_is_logistic_regression():
    generator = np.random.default_rng(1)
    x = generator.normal(size=(60, 2)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int32)
    layer = nn.linear(2, 1)
    params, state = layer.init(jax.random.key(0))
    found = train.evaluate(train.binary_classification(layer), params, state, {"x": x, "y": y})
    p = expit(applied(params, x)[:, 0])
    assert found["loss"] == pytest.approx(sk.log_loss(y, p), rel=1e-5)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, p > 0.5))


def test_regression_measures_squared_and_absolute_error():
    generator = np.random.default_rng(1)
    x, y = (generator.normal(size=(60, 2)).astype(np.float32) for _ in range(2))
    layer = nn.linear(2, 2)
    params, state = layer.init(jax.random.key(0))
    prediction = applied(params, x)
    found = train.evaluate(train.regression(layer), params, state, {"x": x, "y": y})
    assert found["loss"] == pytest.approx(sk.mean_squared_error(y, prediction), rel=1e-5)
    assert found["absolute_error"] == pytest.approx(sk.mean_absolute_error(y, prediction), rel=1e-5)


def test_targets_that_would_broadcast_are_refused():
    layer, params, state = nn.linear(2, 1), *nn.linear(2, 1).init(jax.random.key(0))
    batch = {"x": np.ones((5, 2), np.float32), "y": np.ones(5, np.float32)}
    with pytest.raises(ValueError, match=r"\(5, 1\).*\(5,\)"):
        train.regression(layer)(params, state, batch)


def test_perplexity_is_formed_at_the_end():
    values = np.random.default_rng(0).uniform(size=12).astype(np.float32)
    whole = metrics.mean(jnp.asarray(values))
    parts = metrics.merge(
        {"p": metrics.mean(jnp.asarray(values[:5]))}, {"p": metrics.mean(jnp.asarray(values[5:]))}
    )
    merged = metrics.Perplexity(*parts["p"]).value()
    assert float(merged) == pytest.approx(float(jnp.exp(whole.value())), rel=1e-6)
    assert float(merged) == pytest.approx(np.exp(values.mean()), rel=1e-6)


def test_evaluation_changes_nothing_and_is_the_same_twice(problem, blobs, network):
    step, state = problem()
    before = jax.tree.map(np.array, state)
    first = train.evaluate(step.objective, state.params, state.state, blobs())
    second = train.evaluate(step.objective, state.params, state.state, blobs())
    assert first == second
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(one, other)


def test_data_on_the_host_is_evaluated_alike():
    params, state, data = setup()
    on_host = train.evaluate(OBJECTIVE, params, state, HostData(data), batch_size=40)
    assert on_host == train.evaluate(OBJECTIVE, params, state, data, batch_size=40)


def test_what_counts_nothing_may_be_nan():
    one = metrics.mean(np.float32([1, np.nan, 3]), np.float32([1, 0, 1]))
    assert float(one.value()) == 2.0


def test_perplexity_of_a_uniform_guess_is_the_number_of_classes():
    logits, labels = np.zeros((2, 5, 7), np.float32), np.zeros((2, 5), np.int32)
    perplexity = jax.jit(lambda logits, labels: metrics.perplexity(logits, labels, None).value())
    assert float(perplexity(logits, labels)) == pytest.approx(7, rel=1e-6)


def test_no_examples_are_refused():
    params, state, data = setup()
    empty = {name: leaf[:0] for name, leaf in data.items()}
    with pytest.raises(ValueError, match="no examples"):
        train.evaluate(OBJECTIVE, params, state, empty)


@pytest.mark.parametrize("loss", [F.huber, F.absolute_error])
def test_regression_takes_other_losses(loss):
    layer = nn.linear(2, 1)
    params, state = layer.init(jax.random.key(0))
    batch = {"x": np.ones((5, 2), np.float32), "y": np.zeros((5, 1), np.float32)}

    @jax.jit
    def both(params):
        value, _ = train.regression(layer, loss=loss)(params, state, batch)
        prediction, _ = layer.apply(params, state, batch["x"])
        return value, loss(prediction, batch["y"])

    value, expected = both(params)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)


def test_auxiliary_heads_count_for_less_in_the_loss_and_for_nothing_in_the_metrics():
    logits = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    labels = np.array([0, 4, 2, 2])
    heads = nn.from_function(lambda x: tuple(x), "heads")
    objective = train.classification(heads, auxiliary_weight=0.3)
    loss, (_, measured) = jax.jit(objective)((), (), {"x": logits, "y": labels})
    each = [sk.log_loss(labels, softmax(one, axis=-1), labels=range(5)) for one in logits]
    np.testing.assert_allclose(loss, each[0] + 0.3 * (each[1] + each[2]), rtol=1e-5)
    assert measured["accuracy"].value() == (logits[0].argmax(-1) == labels).mean()
