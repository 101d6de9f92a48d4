from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from dlcore import functional as F
from dlcore import nn

rng = np.random.default_rng(0)
X, SOURCE = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 4), (2, 5, 6)))
MASK = np.arange(5) < np.array([5, 2])[:, None]
LAYER = nn.additive_attention(4, 6, 7)
PARAMS, _ = LAYER.init(jax.random.key(0))
apply = jax.jit(lambda params, x, **side: LAYER.apply(params, (), x, **side)[0])


@pytest.mark.parametrize("mask", [None, MASK])
def test_it_is_the_papers_formula(mask):
    """eₜₛ = vᵀ tanh(W xₜ + U sourceₛ + b), one t and s at a time."""
    own = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), PARAMS)
    scores = np.empty((2, 3, 5))
    for b, t, s in np.ndindex(2, 3, 5):
        inner = X[b, t] @ own["query"]["kernel"] + SOURCE[b, s] @ own["key"]["kernel"]
        scores[b, t, s] = np.tanh(inner + own["key"]["bias"]) @ own["score"]["kernel"][:, 0]
    side = {"source": SOURCE}
    if mask is not None:
        scores = np.where(mask[:, None], scores, -np.inf)
        side["source_mask"] = mask
    expected = softmax(scores, -1) @ SOURCE
    np.testing.assert_allclose(apply(PARAMS, X, **side), expected, rtol=1e-4, atol=1e-5)


def test_what_is_no_source_moves_nothing():
    """NaN behind the mask is in neither value nor gradient."""
    spoiled = np.where(MASK[..., None], SOURCE, np.nan)

    @jax.jit
    def gradient(source):
        return jax.value_and_grad(
            lambda params: jnp.sum(apply(params, X, source=source, source_mask=MASK) ** 2)
        )(PARAMS)

    for one, other in zip(*map(jax.tree.leaves, map(gradient, (SOURCE, spoiled))), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.additive_attention(4, 6, 0), "additive_attention needs hidden ≥ 1"),
        (lambda: LAYER.apply(PARAMS, (), X[..., :3], source=SOURCE), r"expected \[B, T, 4\], got"),
        (lambda: LAYER.apply(PARAMS, (), X, source=X), r"expected source \[2, S, 6\], got float32"),
        (lambda: LAYER.apply(PARAMS, (), X), "reads 'source', which was not given"),
        (
            lambda: F.additive_attention(X, X, X, np.ones(3, np.float32)),
            r"query \(2, 3, 4\), key \(2, 3, 4\) and vector \(3,\) do not fit",
        ),
    ],
)
def test_refuses(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
