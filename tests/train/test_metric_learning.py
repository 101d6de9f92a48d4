from __future__ import annotations

import functools
import warnings

import jax
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from dlcore import data, nn, optim, train
from dlcore import functional as F

LAYER = nn.linear(4, 3)
OBJECTIVE = train.metric_learning(LAYER, mining="batch_hard", margin=0.5)


def test_loss_active_share_and_distance(blobs):
    batch, (params, state) = blobs(n=12), LAYER.init(jax.random.key(0))
    embeddings = batch["x"] @ np.asarray(params["kernel"]) + np.asarray(params["bias"])
    triplet = jax.jit(functools.partial(F.triplet, mining="batch_hard", margin=0.5))
    mined = triplet(embeddings, batch["y"])
    found = train.evaluate(OBJECTIVE, params, state, batch)
    assert found["loss"] == pytest.approx(float(mined.loss), rel=1e-5)
    assert found["active"] == pytest.approx(float(mined.active), rel=1e-5)
    assert found["distance"] == pytest.approx(pdist(embeddings, "sqeuclidean").mean(), rel=1e-5)
    # The second of two batches is filled up with what does not count.
    padded = train.evaluate(OBJECTIVE, params, state, batch, batch_size=8)
    parts = [{k: v[rows] for k, v in batch.items()} for rows in (slice(8), slice(8, 12))]
    alone = [train.evaluate(OBJECTIVE, params, state, part) for part in parts]
    pairs = [8 * 7, 4 * 3]
    for name, counts in (("loss", None), ("active", None), ("distance", pairs)):
        expected = np.average([one[name] for one in alone], weights=counts)
        assert padded[name] == pytest.approx(expected, rel=1e-5)


def test_it_brings_classes_together(blobs):
    """In batches of three classes, four examples of each; no warning is given."""
    batch, optimizer = blobs(n=96), optim.adam(1e-2)
    records = train.fit(
        train.make_step(OBJECTIVE, optimizer),
        train.train_state(LAYER, optimizer),
        batch,
        epochs=20,
        batch_size=12,
        order=data.per_class(batch["y"], classes=3, examples=4),
    )
    first, *_, last = [record.metrics for record in records]
    assert last["active"] < first["active"]
    assert last["loss"] < first["loss"] / 2


def test_collapse_is_said_in_one_line():
    params, state = LAYER.init(jax.random.key(0))
    batch = {"x": np.ones((6, 4), np.float32), "y": np.array([0, 0, 1, 1, 2, 2])}
    with pytest.warns(train.CollapseWarning, match="the loss stands at the margin, 0.5") as said:
        found = train.evaluate(OBJECTIVE, params, state, batch)
    assert [("\n" in str(one.message)) for one in said] == [False]
    assert (found["loss"], found["active"], found["distance"]) == (0.5, 1, 0)
    with warnings.catch_warnings(record=True) as again:
        warnings.simplefilter("default")
        for scale in (1, 1 + 1e-4):
            train.evaluate(OBJECTIVE, params, state, batch | {"x": scale * batch["x"]})
    assert len(again) == 1
    soft = train.metric_learning(LAYER, margin=None, squared=False)
    with pytest.warns(train.CollapseWarning, match="stands at the margin, 0.693"):
        train.evaluate(soft, params, state, batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # inside a compiled program nothing can be said
        jax.jit(lambda: OBJECTIVE(params, state, batch)[1][1]["distance"].value())()


def test_columns_that_nobody_reads_are_refused():
    params, state = LAYER.init(jax.random.key(0))
    batch = {"x": np.ones((2, 4), np.float32), "y": np.zeros(2, int), "maks": np.ones(2)}
    with pytest.raises(ValueError, match="neither the objective nor the linear reads"):
        OBJECTIVE(params, state, batch)
    with pytest.raises(TypeError, match=r"write train.metric_learning\(.*margin=0.3\)"):
        train.metric_learning(LAYER, margn=0.3)
