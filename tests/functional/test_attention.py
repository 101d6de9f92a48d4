from __future__ import annotations

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore import functional as F

B, H, T, S, D, E = 2, 3, 4, 5, 6, 7


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


QKV = arrays((B, H, T, D), (B, H, S, D), (B, H, S, E))
OF_ONE_DEPTH = (*QKV[:2], QKV[2][..., :D])
MASK = np.random.default_rng(1).random((B, 1, T, S)) < 0.5
MASK[..., 0] = True
NOWHERE = MASK.copy()
NOWHERE[1, 0, 2] = False  # one query that may attend to nothing


@pytest.mark.parametrize("mask", [None, MASK, NOWHERE], ids=["no mask", "mask", "nowhere"])
def test_values_and_gradients_are_torchs(mask, torch):
    theirs = [torch.tensor(x, requires_grad=True) for x in QKV]
    expected = torch.nn.functional.scaled_dot_product_attention(
        *theirs, attn_mask=None if mask is None else torch.tensor(mask)
    )
    (expected**3).sum().backward()
    y, back = jax.vjp(lambda *qkv: F.attention(*qkv, mask), *QKV)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    gradients = list(back(3 * y**2))
    chex.assert_trees_all_close(gradients, [x.grad.numpy() for x in theirs], rtol=1e-4, atol=1e-5)


@pytest.fixture(params=[jax.nn.dot_product_attention, linen.dot_product_attention])
def theirs(request, standard_promotion):
    """JAX's or Flax's, which want [B, T, H, D]."""
    return lambda *qkv, mask: request.param(*(x.swapaxes(1, 2) for x in qkv), mask=mask).swapaxes(
        1, 2
    )


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_values_and_gradients_are_jaxs_and_flaxs(mask, theirs):
    """Which want the depth of the values to be that of the keys."""

    @jax.jit
    def values_and_gradients(*qkv):
        y, back = jax.vjp(lambda *qkv: F.attention(*qkv, mask), *qkv)
        expected, their_back = jax.vjp(functools.partial(theirs, mask=mask), *qkv)
        return y, expected, back(y**2), their_back(y**2)

    y, expected, gradients, their_gradients = values_and_gradients(*OF_ONE_DEPTH)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(gradients, their_gradients, rtol=1e-4, atol=1e-5)


def test_who_may_attend_to_nothing_receives_0_and_elsewhere_the_mean_of_the_values(theirs):
    @jax.jit
    def values_and_gradients(*qkv):
        y, back = jax.vjp(lambda *qkv: F.attention(*qkv, NOWHERE), *qkv)
        return y, theirs(*qkv, mask=NOWHERE), back(jnp.ones_like(y))

    y, elsewhere, gradients = values_and_gradients(*OF_ONE_DEPTH)
    np.testing.assert_array_equal(y[1, :, 2], np.zeros((H, D)))
    for gradient in gradients:
        assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradients[0][1, :, 2], np.zeros((H, D)))
    value = OF_ONE_DEPTH[2]
    np.testing.assert_allclose(elsewhere[1, :, 2], value[1].mean(-2), rtol=1e-4, atol=1e-6)


def test_what_is_masked_is_not_seen():
    query, key, value = QKV
    is_seen = np.arange(S) < 3
    poisoned = (np.where(is_seen[:, None], a, bad) for a, bad in ((key, 1e6), (value, -1e6)))

    @jax.jit
    def masked_and_cut(*poisoned):
        cut = F.attention(query, key[:, :, :3], value[:, :, :3])
        return F.attention(query, *poisoned, is_seen), cut

    np.testing.assert_allclose(*masked_and_cut(*poisoned), rtol=1e-5, atol=1e-6)


def test_leading_axes_broadcast_and_none_is_needed():
    @jax.jit
    def shared_and_alone(query, key, value):
        alone = [F.attention(query[1, head], key[1, 0], value[1, 0]) for head in range(H)]
        return F.attention(query, key[:, :1], value[:, :1])[1], jnp.stack(alone)

    np.testing.assert_allclose(*shared_and_alone(*QKV), rtol=1e-5, atol=1e-6)


def test_weights_are_a_softmax_in_float32():
    """Of scores about 100, where bfloat16 knows halves alone, with a row of the identity a key."""
    query = np.array([[1, 1]], jnp.bfloat16)
    key = np.array([[100, 0], [100, 0.125], [100, 0.25]], jnp.bfloat16)
    y = jax.jit(F.attention)(query, key, np.eye(3, dtype=jnp.bfloat16))
    exact = np.exp(np.array([0.0, 0.125, 0.25]) / np.sqrt(2))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y[0].astype(float), exact / exact.sum(), rtol=2**-8)


def test_large_scores_do_not_overflow():
    query, key, value = QKV

    @jax.jit
    def value_and_gradients(*qkv):
        y, back = jax.vjp(F.attention, *qkv)
        return y, back(y)

    y, gradients = value_and_gradients(1e4 * query, 1e4 * key, value)
    best = np.argmax(query @ key.swapaxes(-1, -2), axis=-1)
    np.testing.assert_allclose(y, np.take_along_axis(value, best[..., None], 2), rtol=1e-6)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(
    ("shapes", "mask", "error", "message"),
    [
        (((4, 6), (5, 7), (5, 6)), None, ValueError, "key (5, 7) and value (5, 6) do not fit"),
        (((4, 6), (5, 6), (4, 6)), None, ValueError, "[..., S, D] and [..., S, E] are wanted"),
        (((2, 4, 6), (3, 5, 6), (3, 5, 6)), None, ValueError, "leading axes that broadcast"),
        (((4, 6), (5, 6), (5, 6)), [[1.0] * 5] * 4, TypeError, "mask is float32, but True"),
        (
            ((4, 6), (5, 6), (5, 6)),
            np.ones((4, 5), np.float32),
            TypeError,
            "mask is float32, but True",
        ),
        (((4, 6), (5, 6), (5, 6)), np.ones((5, 4), bool), ValueError, "mask (5, 4) does not"),
        (
            ((4, 6), (5, 6), (5, 6)),
            np.ones((2, 4, 5), bool),
            ValueError,
            "mask (2, 4, 5) does not",
        ),
    ],
)
def test_refuses(shapes, mask, error, message):
    with pytest.raises(error, match=re.escape(message)):
        F.attention(*arrays(*shapes), mask)


def test_refuses_integers():
    x = np.ones((4, 6), np.int32)
    with pytest.raises(TypeError, match="query is int32"):
        F.attention(x, x, x)
