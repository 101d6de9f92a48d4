"""Taggers: the loss of sentences, what is measured of them, and that they learn."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score

from dlcore import functional as F
from dlcore import nn, optim, train
from dlcore.train import metrics
from dlcore.train.tagging import tags_of

NAMES = ("O", "B-X", "I-X")
B, T = 12, 5


def batch(seed=0, rows=B):
    """Words whose tags follow from them and from the words before."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 6, (rows, T)).astype(np.int32)
    mask = np.arange(T) < rng.integers(0, T + 1, (rows, 1))
    y = np.zeros_like(x)
    for t in range(T):
        goes_on = (x[:, t] == 1) & (y[:, t - 1] > 0) if t else False
        y[:, t] = np.where(x[:, t] == 0, 1, np.where(goes_on, 2, 0))
    return {"x": x, "y": y, "mask": mask}


def softmax():
    return nn.serial(nn.embedding(6, 3), nn.linear(3, 3))


def with_crf():
    return nn.serial(nn.embedding(6, 3), nn.linear(3, 3), nn.crf(3, allowed=F.iob2_allowed(NAMES)))


@pytest.mark.parametrize("make", [softmax, with_crf])
def test_the_loss_is_minus_log_p_of_the_sentences_that_count(make):
    layer, data = make(), batch()
    params, state = layer.init(jax.random.key(0))
    weight = (np.arange(B) % 3).astype(np.float32)
    own = {name: metrics.chunks_of(NAMES, strict=name == "strict") for name in ("f1", "strict")}
    objective = train.tagging(layer, metrics=own)

    @jax.jit
    def measured(params, batch):
        side = {"mask": batch["mask"]} if "mask" in layer.info.reads else {}
        outputs = layer.apply(params, state, batch["x"], **side)[0]
        loss, (_, found) = objective(params, state, batch)
        gradient = jax.grad(lambda params: objective(params, state, batch, train=True)[0])(params)
        tags, counts = tags_of(outputs), (batch["mask"] & (weight > 0)[:, None])
        f1 = {
            name: F.chunk_f1(
                F.chunk_counts(tags, data["y"], NAMES, counts, strict=name == "strict")
            )
            for name in own
        }
        nats = F.crf_loss(outputs, data["y"]) if make is with_crf else outputs
        return loss, found, nats, tags, f1, gradient

    wrong = np.where(data["mask"], data["y"], 7)  # nobody reads what stands under the mask
    loss, found, nats, tags, f1, gradient = jax.device_get(
        measured(params, {**data, "y": wrong, "weight": weight})
    )
    real, labels = data["mask"], data["y"]
    if make is softmax:
        chances = np.take_along_axis(log_softmax(nats, axis=-1), labels[..., None], -1)[..., 0]
        nats = -np.where(real, chances, 0).sum(1)
    np.testing.assert_allclose(loss, (weight * nats).sum() / weight.sum(), rtol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    numbers = metrics.values(found)
    counted = real * weight[:, None]
    expected = accuracy_score(labels.ravel(), tags.ravel(), sample_weight=counted.ravel())
    np.testing.assert_allclose(numbers["accuracy"], expected, rtol=1e-5)
    np.testing.assert_allclose([numbers[name] for name in f1], [*f1.values()], rtol=1e-6)


def test_it_is_trained_evaluated_and_predicts_chains():
    """Also in batches that do not divide the data."""
    layer, data = with_crf(), batch(1, rows=100)
    optimizer = optim.adam(0.05)
    objective = train.tagging(layer, metrics={"f1": metrics.chunks_of(NAMES)})
    state = train.train_state(layer, optimizer)
    step = train.make_step(objective, optimizer)
    *_, last = train.fit(step, state, data, epochs=30, batch_size=20)
    end = last.state
    scores = train.evaluate(objective, end.params, end.state, data, batch_size=30)
    assert scores["f1"] > 0.99
    chain = train.predict(
        layer, end.params, end.state, {"x": data["x"], "mask": data["mask"]}, batch_size=30
    )
    assert isinstance(chain, F.Chain)
    path, _ = jax.jit(F.crf_viterbi)(chain)
    hits = (np.asarray(path) == data["y"])[data["mask"]]
    np.testing.assert_allclose(hits.mean(), scores["accuracy"], rtol=1e-6)


def test_several_kinds_of_tags_are_learned_by_the_weighted_sum():
    def both(*outputs):
        return dict(zip(("chunk", "pos"), outputs, strict=True))

    heads = nn.named("chunk", nn.crf(3)), nn.named("pos", nn.linear(3, 3))
    layer = nn.serial(nn.embedding(6, 3), nn.branch(both, *heads))
    params, state = layer.init(jax.random.key(0))
    data = batch()
    data["chunk"], data["pos"] = data.pop("y"), data["x"] % 3

    @jax.jit
    def losses(params):
        how = {"chunk": 1.0}, {"pos": 1.0}, {"chunk": 2.0, "pos": 0.5}
        batches = [
            {name: leaf for name, leaf in data.items() if name in (*one, "x", "mask")}
            for one in how
        ]
        return [
            train.tagging(layer, one)(params, state, b) for one, b in zip(how, batches, strict=True)
        ]

    (chunk, _), (pos, _), (whole, (_, measured)) = losses(params)
    np.testing.assert_allclose(whole, 2 * chunk + 0.5 * pos, rtol=1e-6)
    assert {*measured} == {"loss", "chunk_accuracy", "pos_accuracy"}
    np.testing.assert_allclose(measured["loss"].value(), whole, rtol=1e-6)
    bare = {name: leaf for name, leaf in data.items() if name != "pos"}
    with pytest.raises(ValueError, match='the data have no "pos"'):
        train.tagging(layer, {"chunk": 1.0, "pos": 0.5})(params, state, bare)
    with pytest.raises(ValueError, match="a column that neither the objective nor the serial"):
        train.tagging(layer, {"chunk": 1.0})(params, state, data)


def test_a_weight_of_steps_is_refused():
    layer, data = softmax(), batch()
    given = {**data, "weight": np.ones((B, T), np.float32)}
    with pytest.raises(ValueError, match="the weight is"):
        jax.eval_shape(train.tagging(layer), *layer.init(jax.random.key(0)), given)


def test_labels_that_do_not_fit_the_outputs_are_refused():
    layer = nn.linear(4, 3)
    params, state = layer.init(jax.random.key(0))
    batch = {"x": np.ones((2, 5, 4), np.float32), "y": np.zeros((2, 5), np.int32)}
    with pytest.raises(TypeError, match=r"labels is \['y'\], but a column is wanted, or several"):
        train.tagging(layer, ["y"])
    with pytest.raises(
        ValueError, match="labels has 'y', but the layer gives one output: give the"
    ):
        train.tagging(layer, {"y": 1.0})(params, state, batch)


def test_a_step_may_have_several_tags():
    """Each is true or not for itself; where the mask is False they may be anything."""
    data = batch()
    sets = np.random.default_rng(1).random((B, T, 3)) < 0.4
    several = nn.branch(
        lambda one, other: {"y": one, "sets": other},
        nn.named("one", nn.linear(3, 3)),
        nn.named("other", nn.linear(3, 3)),
    )
    layer = nn.serial(nn.embedding(6, 3), several)
    params, state = layer.init(jax.random.key(0))
    objective = train.tagging(layer, {"y": 1.0, "sets": 0.5})
    wrong = np.where(data["mask"][..., None], sets, True)

    @jax.jit
    def measured(params):
        _, (_, found) = objective(params, state, {**data, "sets": wrong})
        return found, layer.apply(params, state, data["x"])[0]

    found, outputs = jax.device_get(measured(params))
    real, labels = data["mask"], data["y"]
    chances = np.take_along_axis(log_softmax(outputs["y"], axis=-1), labels[..., None], -1)[..., 0]
    nats = np.where(sets, np.logaddexp(0, -outputs["sets"]), np.logaddexp(0, outputs["sets"]))
    loss = -np.where(real, chances, 0).sum() + 0.5 * nats.sum(-1)[real].sum()
    numbers = metrics.values(found)
    np.testing.assert_allclose(numbers["loss"], loss / B, rtol=1e-5)
    expected = accuracy_score(sets[real], outputs["sets"][real] > 0)
    np.testing.assert_allclose(numbers["sets_accuracy"], expected, rtol=1e-5)


def test_several_tags_are_true_or_false():
    layer = softmax()
    params, state = layer.init(jax.random.key(0))
    for y, error, message in (
        (np.ones((B, T, 3), np.float32), TypeError, r"tagging: y is float32.*y\.astype\(bool\)"),
        (np.ones((B, T, 2), bool), ValueError, r"tagging: y \[12, 5, 2\] has to say of each"),
    ):
        data = {"x": batch()["x"], "y": y}
        with pytest.raises(error, match=message):
            jax.eval_shape(lambda p, d: train.tagging(layer)(p, state, d, train=True), params, data)
