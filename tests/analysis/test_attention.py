"""The weights of attention are what the layer itself gives for values that are ones."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.special import softmax

from dlcore import analysis, nn

rng = np.random.default_rng(0)
X, SOURCE = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 5, 8), (2, 4, 6)))
MASK = np.arange(5) < np.array([5, 3])[:, None]


def looked_at(layer, **side):
    """The weights of attention inside a network, its output there and its params."""
    network = nn.serial(nn.named("attend", layer))
    params, state = jax.jit(network.init)(jax.random.key(0))

    @jax.jit
    def both(params, state, side):
        _, calls = nn.observed(network.apply, params, state, X, **side)
        return analysis.attention_weights(calls["attend"]), calls["attend"].y

    return *jax.device_get(both(params, state, side)), jax.device_get(params["attend"])


def test_causal_grouped_heads_with_a_mask():
    """Against the scores by hand, in float64."""
    layer = nn.attention(8, 4, kv_heads=2, causal=True)
    weights, _, params = looked_at(layer, mask=MASK)

    def heads(name, count):
        z = X.astype(np.float64) @ params[name]["kernel"] + params[name]["bias"]
        return z.reshape(2, 5, count, 2).swapaxes(1, 2)

    keys = np.repeat(heads("key", 2), 2, axis=1)
    scores = heads("query", 4) @ keys.swapaxes(-1, -2) / np.sqrt(2)
    seen = np.tril(np.ones((5, 5), bool)) & MASK[:, None, None]
    expected = softmax(np.where(seen, scores, -np.inf), -1)
    real = np.broadcast_to(MASK[:, None, :, None], expected.shape)
    np.testing.assert_allclose(np.where(real, weights, 0), np.where(real, expected, 0), atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "heads"), [(nn.attention(8, 2, source=6), 2), (nn.additive_attention(8, 6, 3), 1)]
)
def test_weights_of_a_source_make_its_output(layer, heads):
    weights, y, _ = looked_at(layer, source=SOURCE)
    assert weights.shape == (2, heads, 5, 4)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    if heads == 1:
        np.testing.assert_allclose(y, weights[:, 0] @ SOURCE, rtol=1e-4, atol=1e-5)


def test_another_layer_is_refused():
    with pytest.raises(ValueError, match="the linear does not attend; give the call of an"):
        looked_at(nn.linear(8, 3))
