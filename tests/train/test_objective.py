from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics as sk

from dlcore import functional as F
from dlcore import nn, optim, train
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


# --------------------------------------------------------------- sequences: masks, weights, columns


def sequence():
    """A network that reads a mask, and padded data with a weight [N, T]."""
    layer = nn.serial(nn.linear(4, 6), nn.rnn(6, 6), nn.linear(6, 3))
    generator = np.random.default_rng(0)
    x = generator.normal(size=(23, 5, 4)).astype(np.float32)
    y = generator.integers(0, 3, (23, 5)).astype(np.int32)
    mask = np.arange(5) < generator.integers(1, 6, 23)[:, None]
    return layer, {"x": x, "y": y, "mask": mask, "weight": mask.astype(np.float32)}


@pytest.mark.slow
def test_a_weight_for_each_place_is_exact_for_every_batch_size():
    layer, data = sequence()
    params, state = layer.init(jax.random.key(0))
    objective = train.classification(layer)
    logits, _ = jax.jit(layer.apply)(params, state, data["x"], mask=data["mask"])
    log_p = np.log(softmax(np.asarray(logits, np.float64), -1))
    losses = -np.take_along_axis(log_p, data["y"][..., None], -1)[..., 0]
    for batch_size in (23, 10):
        found = train.evaluate(objective, params, state, data, batch_size=batch_size)
        assert found["loss"] == pytest.approx(losses[data["mask"]].mean(), rel=1e-5)
        right = (np.argmax(logits, -1) == data["y"])[data["mask"]]
        assert found["accuracy"] == pytest.approx(right.mean())
    by_example = {**data, "weight": np.arange(23, dtype=np.float32)}
    found = train.evaluate(objective, params, state, by_example, batch_size=23)
    counts = np.where(data["mask"], by_example["weight"][:, None], 0)
    assert found["loss"] == pytest.approx(np.average(losses, weights=counts), rel=1e-5)


def test_padding_moves_neither_loss_nor_gradient():
    layer, data = sequence()
    params, state = layer.init(jax.random.key(0))
    objective = train.classification(layer)

    @jax.jit
    def gradient(data):
        return jax.value_and_grad(lambda params: objective(params, state, data)[0])(params)

    there = data["mask"]
    padded = {**data, "x": np.where(there[..., None], data["x"], 7.0)}
    padded["y"] = np.where(there, data["y"], 0).astype(np.int32)
    for one, other in zip(*map(jax.tree.leaves, map(gradient, (data, padded))), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_predict_gives_the_layer_its_columns():
    layer, data = sequence()
    params, state = layer.init(jax.random.key(0))
    y = train.predict(layer, params, state, data, batch_size=10)
    expected, _ = jax.jit(layer.apply)(params, state, data["x"], mask=data["mask"])
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    plain = train.predict(LAYER, *LAYER.init(jax.random.key(0)), data["x"][:, 0])
    assert plain.shape == (23, 3)


@pytest.mark.parametrize("wraps", [lambda one: one, lambda one: train.augmented(one, None)])
def test_a_column_that_nobody_reads_is_refused(wraps):
    layer, data = sequence()
    params, state = layer.init(jax.random.key(0))
    data["maks"] = data.pop("mask")
    message = "neither the objective nor the serial reads, 'maks', did you mean 'mask'"
    with pytest.raises(ValueError, match=message):
        train.evaluate(wraps(train.classification(layer)), params, state, data)
    with pytest.raises(ValueError, match=message):
        train.predict(layer, params, state, data)


def test_a_missing_column_is_named():
    params, state, data = setup()
    with pytest.raises(ValueError, match='the data have no "y", but only x'):
        train.evaluate(OBJECTIVE, params, state, {"x": data["x"]})


@pytest.mark.parametrize("shape", [(101, 1), (101, 3)])
def test_a_weight_of_another_shape_is_refused(shape):
    params, state, data = setup()
    with pytest.raises(ValueError, match=r"the weight is float32.*but the first axes of what it"):
        train.evaluate(OBJECTIVE, params, state, {**data, "weight": np.ones(shape, np.float32)})


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_is_refused_in_evaluation_too(label):
    params, state, data = setup()
    wrong = {**data, "y": data["y"].copy()}
    wrong["y"][77] = label
    with pytest.raises(ValueError, match="label"):
        train.evaluate(OBJECTIVE, params, state, wrong, batch_size=50)


def test_two_outputs_are_no_binary_classification():
    layer = nn.linear(4, 2)
    params, state = layer.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"needs one logit, \[B, 1\], but the linear gives"):
        train.binary_classification(layer)(params, state, {"x": np.ones((3, 4)), "y": np.ones(3)})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loss", "what is minimised"),
        ("step", "a record has step, epoch, seconds"),
        ("seconds", "a record has step"),
        ("validation_loss", "validation_… of its own"),
    ],
)
def test_a_metric_has_a_name_of_its_own(name, message):
    _, _, data = setup()

    def run():
        objective = train.classification(LAYER, metrics={name: metrics.mean_of(F.correct)})
        step = train.make_step(objective, optim.sgd(0.1))
        train.fit(step, train.train_state(LAYER, step.optimizer), data, epochs=1, batch_size=9)

    with pytest.raises(ValueError, match=message):
        run()


def test_a_metric_is_sums():
    _, _, data = setup()
    objective = train.classification(LAYER, metrics={"odd": lambda y, t, w: jnp.sum(y)})
    step = train.make_step(objective, optim.sgd(0.1))
    with pytest.raises(TypeError, match=r"the metric 'odd' gave float32\[\], but sums with value"):
        train.fit(step, train.train_state(LAYER, step.optimizer), data, epochs=1, batch_size=9)


def test_smoothing_is_of_training_alone():
    """In evaluation the loss is that of the labels as they are, whatever was trained with."""
    layer = nn.linear(3, 4)
    params, state = layer.init(jax.random.key(0))
    batch = {"x": np.ones((5, 3), np.float32), "y": np.arange(5) % 4}
    logits = layer.apply(params, state, batch["x"])[0]
    plain, smoothed = (train.classification(layer, label_smoothing=e) for e in (0.0, 0.2))
    for how in (True, False):
        loss, (_, measured) = smoothed(params, state, batch, train=how)
        wanted = F.cross_entropy(logits, batch["y"], label_smoothing=0.2 if how else 0.0)
        assert loss == pytest.approx(float(wanted), rel=1e-6)
        assert measured["loss"].value() == pytest.approx(float(wanted), rel=1e-6)
    assert plain(params, state, batch, train=False)[0] == smoothed(params, state, batch)[0]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda s: train.evaluate(OBJECTIVE, s, {}),
            "evaluate(objective, s.params, s.state, data)",
        ),
        (lambda s: train.evaluate(OBJECTIVE, params=s, data={}), "got a TrainState: with s for it"),
        (lambda s: train.predict(LAYER, s, np.ones(3)), "predict(layer, s.params, s.state, data)"),
        (
            lambda s: train.predict(LAYER, (), (), {}, batchsize=3),
            "(layer, (), (), {}, batch_size=3)",
        ),
        (lambda s: train.make_step(loss=OBJECTIVE), "has no loss: write train.make_step(objective"),
        (lambda s: train.train_state(LAYER), "write train.train_state(layer, optimizer=…)"),
        (lambda s: train.classification(LAYER, smoothing=0.1), "(layer, label_smoothing=0.1)"),
    ],
)
def test_a_call_as_elsewhere_is_corrected(call, told):
    with pytest.raises(TypeError, match=re.escape(told)):
        call(train.train_state(LAYER, optim.sgd(0.1)))


STEPS = nn.serial(nn.lstm(4, 5), nn.linear(5, 3))


def sequences():
    """Three sequences of 6, 2 and 4 steps, whose labels are −1 behind them."""
    rng = np.random.default_rng(3)
    mask = np.arange(6) < np.array([6, 2, 4])[:, None]
    x = rng.normal(size=(3, 6, 4)).astype(np.float32)
    y = np.where(mask, rng.integers(0, 3, (3, 6)), -1).astype(np.int32)
    return {"x": x, "y": y, "mask": mask}


@pytest.mark.parametrize("weight", [None, np.float32([1, 2, 0]), "steps"])
def test_a_loss_of_steps_is_that_of_the_real_ones(weight):
    """In evaluation, and in training with its gradient, whatever stands behind the mask."""
    params, state = jax.jit(STEPS.init)(jax.random.key(1))
    batch = sequences()
    counts = np.ones(3) if weight is None or isinstance(weight, str) else weight
    counts = np.where(batch["mask"], counts[:, None], 0)
    if weight is not None:
        batch["weight"] = counts.astype(np.float32) if isinstance(weight, str) else weight
    logits, _ = jax.jit(STEPS.apply)(params, state, batch["x"], mask=batch["mask"])
    logits = np.asarray(logits, np.float64)
    log_p = np.log(softmax(logits, -1))
    nats = -np.take_along_axis(log_p, np.maximum(batch["y"], 0)[..., None], -1)[..., 0]
    expected = (nats * counts).sum() / counts.sum()
    objective = train.classification(STEPS, metrics={"perplexity": metrics.perplexity})
    found = train.evaluate(objective, params, state, batch, batch_size=2)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(expected), rel=1e-5)
    right = (logits.argmax(-1) == batch["y"]) * counts
    assert found["accuracy"] == pytest.approx(right.sum() / counts.sum())
    loss, grads = jax.jit(
        jax.value_and_grad(lambda params, batch: objective(params, state, batch, train=True)[0])
    )(params, batch)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_what_is_no_metric_and_no_logits_is_refused():
    with pytest.raises(TypeError, match=r"metrics is 'ppl', but functions by name are wanted: met"):
        train.classification(LAYER, metrics="ppl")
    chain = nn.serial(nn.linear(4, 3), nn.crf(3))
    params, state = jax.eval_shape(chain.init, jax.random.key(0))
    batch = {name: leaf for name, leaf in sequences().items() if name != "mask"}
    with pytest.raises(TypeError, match=r"but the layer gives a Chain: train\.tagging"):
        jax.eval_shape(train.classification(chain), params, state, batch)


# ------------------------------------------------------------------------------ several labels


def labelled(shape=(50,)):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(*shape, 4)).astype(np.float32)
    return {"x": x, "y": rng.random((*shape, 3)) < 0.4}


def test_several_labels_are_as_many_logistic_regressions():
    data = labelled()
    params, state = LAYER.init(jax.random.key(0))
    macro = {"macro": metrics.labels_of(metrics.MacroLabelF1)}
    objective = train.multilabel_classification(LAYER, metrics=macro)
    found = train.evaluate(objective, params, state, data, batch_size=20)
    p, y = expit(applied(params, data["x"])), data["y"]
    losses = [sk.log_loss(y[:, label], p[:, label]) for label in range(3)]
    assert found["loss"] == pytest.approx(sum(losses), rel=1e-5)
    assert found["f1"] == pytest.approx(sk.f1_score(y, p > 0.5, average="micro"), rel=1e-5)
    assert found["macro"] == pytest.approx(sk.f1_score(y, p > 0.5, average="macro"), rel=1e-5)
    assert found["exact_match"] == pytest.approx(sk.accuracy_score(y, p > 0.5))


def test_steps_that_are_none_have_no_labels():
    data = labelled((6, 5))
    mask = np.arange(5) < np.arange(6)[:, None]
    layer = nn.serial(masked, nn.named("linear", LAYER))
    params, state = layer.init(jax.random.key(0))
    objective = train.multilabel_classification(layer)
    batch = {**data, "y": np.where(mask[..., None], data["y"], 7.0), "mask": mask}
    found = train.evaluate(objective, params, state, batch)
    x, y = data["x"][mask], data["y"][mask]
    p = expit(applied(params["linear"], x))
    losses = [sk.log_loss(y[:, label], p[:, label]) for label in range(3)]
    assert found["loss"] == pytest.approx(sum(losses), rel=1e-5)
    assert found["exact_match"] == pytest.approx(sk.accuracy_score(y, p > 0.5))
    gradient = jax.jit(jax.grad(lambda p: objective(p, state, batch, train=True)[0]))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def masked(x, *, mask):
    return x


def test_the_mask_of_a_sequence_is_none_of_its_labels():
    """Of one set of three labels for a sequence of three steps."""
    data = {**labelled(), "mask": np.arange(3) < np.arange(50)[:, None] % 4}
    layer = nn.serial(masked, nn.named("linear", LAYER))
    params, state = layer.init(jax.random.key(0))
    found = train.evaluate(train.multilabel_classification(layer), params, state, data)
    p, y = expit(applied(params["linear"], data["x"])), data["y"]
    losses = [sk.log_loss(y[:, label], p[:, label]) for label in range(3)]
    assert found["loss"] == pytest.approx(sum(losses), rel=1e-5)


def test_a_label_that_is_likely_counts_as_true():
    data = labelled()
    params, state = LAYER.init(jax.random.key(0))
    objective = train.multilabel_classification(LAYER)
    hard = train.evaluate(objective, params, state, data)
    soft = train.evaluate(objective, params, state, {**data, "y": 0.9 * data["y"] + 0.05})
    assert (soft["f1"], soft["exact_match"]) == (hard["f1"], hard["exact_match"])
    assert soft["loss"] != hard["loss"]


def test_several_labels_of_another_number_are_refused():
    params, state = LAYER.init(jax.random.key(0))
    data = {**labelled(), "y": np.ones(50, np.int32)}
    with pytest.raises(ValueError, match=r"y \[50\] has to say of each of the logits \[50, 3\]"):
        train.multilabel_classification(LAYER)(params, state, data)
