from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import models, nn, tree

window = np.random.default_rng(0).normal(size=(3, 7, 2)).astype(np.float32)


def drawn(layer):
    return jax.jit(layer.init)(jax.random.key(0))[0]


@pytest.mark.parametrize("period", [1, 3, 7])
def test_it_begins_as_the_naive_forecast(period):
    layer = models.forecaster(2, 5, 4, period=period)
    found, _ = jax.jit(layer.apply)(drawn(layer), (), window)
    last = window[:, -period:, 0]
    wanted = [[row[k % period] for k in range(5)] for row in last]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_what_is_learned_is_the_difference(kind):
    layer = models.forecaster(2, 5, 4, kind=kind)
    params = drawn(layer)
    kernel = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    bias = np.arange(5, dtype=np.float32)
    params["difference"] = {"kernel": kernel, "bias": bias}
    hs, _ = jax.jit(getattr(nn, kind)(2, 4).apply)(params["recurrent"], (), window)
    wanted = window[:, -1, :1] + np.asarray(hs)[:, -1] @ kernel + bias
    found, _ = jax.jit(layer.apply)(params, (), window)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_count():
    shapes = jax.eval_shape(models.forecaster().init, jax.random.key(0))[0]
    assert tree.count(shapes) == 4 * 32 * (1 + 32 + 1) + 32 * 12 + 12 == 4_748


def test_refuses():
    with pytest.raises(ValueError, match="kind is 'tcn', but one of rnn, lstm, gru is wanted"):
        models.forecaster(kind="tcn")
    with pytest.raises(ValueError, match="period=0, but steps of 1 or more are wanted"):
        models.forecaster(period=0)
    layer = models.forecaster(2, 5, 4, period=8)
    with pytest.raises(ValueError, match="the window has 7 steps, but a season of period=8"):
        layer.apply(drawn(layer), (), window)
