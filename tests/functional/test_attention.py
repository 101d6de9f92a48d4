from __future__ import annotations

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given
from hypothesis import strategies as st

from dlcore import functional as F
from tests.budget import examples
from tests.functional.conftest import assert_derivatives

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


# ------------------------------------------------------- what may be seen, and how it is weighted

BIAS = np.random.default_rng(2).normal(size=(H, T, S)).astype(np.float32)
KEEP = (np.random.default_rng(3).random((B, H, T, S)) < 0.7) / np.float32(0.7)
T_, S_ = np.arange(T)[:, None], np.arange(S)
CASES = {
    "nothing": {},
    "causal": {"causal": True},
    "window": {"window": 2},
    "causal window": {"causal": True, "window": 2},
    "causal mask": {"causal": True, "mask": MASK},
    "bias": {"bias": BIAS},
    "soft cap": {"soft_cap": 1.5},
    "keep": {"keep": KEEP},
    "all": {
        "causal": True,
        "window": 3,
        "bias": BIAS,
        "soft_cap": 2.0,
        "keep": KEEP,
        "mask": NOWHERE,
    },
}


def plain(query, key, value, mask=None, causal=False, window=None, bias=0, soft_cap=None, keep=1):
    """As it is written, for equally many heads."""
    scores = jnp.einsum("bhtd,bhsd->bhts", query, key) / np.sqrt(D)
    scores = scores if soft_cap is None else soft_cap * jnp.tanh(scores / soft_cap)
    seen = np.ones((T, S), bool) if mask is None else mask
    seen = seen & (S_ <= T_) if causal else seen
    seen = seen if window is None else seen & (abs(T_ - S_) < window)
    e = jnp.exp(scores + bias) * seen.astype(np.float32)
    total = e.sum(-1, keepdims=True)
    weights = keep * e / jnp.where(total == 0, 1, total)
    return jnp.einsum("bhts,bhse->bhte", weights, value)


@pytest.mark.parametrize("case", CASES)
def test_is_the_plain_form_with_its_derivatives_in_both_modes(case):
    how = CASES[case]
    tangents = arrays(*(x.shape for x in QKV))

    @jax.jit
    def both(qkv, tangents):
        forms = (functools.partial(form, **how) for form in (F.attention, plain))
        return [
            (jax.jvp(f, qkv, tangents), jax.vjp(f, *qkv)[1](tangents[2][..., :T, :])) for f in forms
        ]

    chex.assert_trees_all_close(*both(tuple(QKV), tuple(tangents)), rtol=1e-4, atol=1e-5)


def test_the_bias_has_a_derivative_and_all_have_a_second(x64):
    shapes = (3, 2), (4, 2), (4, 2), (3, 4)
    sizes = np.cumsum([0, *(a * b for a, b in shapes)])

    def function(x):
        q, k, v, bias = (
            x[a:b].reshape(shape) for a, b, shape in zip(sizes, sizes[1:], shapes, strict=False)
        )
        return F.attention(q, k, v, causal=True, bias=bias, soft_cap=2.0).ravel()

    x = np.random.default_rng(0).normal(size=sizes[-1])
    assert_derivatives(function, x)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_each_head_of_the_keys_serves_several_queries(groups):
    rng = np.random.default_rng(groups)
    query, key, value = arrays((B, 6, T, D), (B, groups, S, D), (B, groups, S, E))
    mask, bias = rng.random((B, 6, T, S)) < 0.7, rng.normal(size=(6, T, S)).astype(np.float32)
    how = {"mask": mask, "bias": bias, "causal": True}

    @jax.jit
    def ours_and_repeated(query, key, value):
        each = [jnp.repeat(x, 6 // groups, axis=1) for x in (key, value)]
        return F.attention(query, key, value, **how), F.attention(query, *each, **how)

    np.testing.assert_allclose(*ours_and_repeated(query, key, value), rtol=1e-5, atol=1e-6)


def test_grouped_causal_windows_are_jaxs(standard_promotion):
    query, key, value = arrays((B, 6, T, D), (B, 2, T, D), (B, 2, T, D))

    @jax.jit
    def both(query, key, value):
        theirs = jax.nn.dot_product_attention(
            *(x.swapaxes(1, 2) for x in (query, key, value)),
            is_causal=True,
            local_window_size=(1, 0),
        )
        return F.attention(query, key, value, causal=True, window=2), theirs.swapaxes(1, 2)

    np.testing.assert_allclose(*both(query, key, value), rtol=1e-5, atol=1e-6)


def test_what_is_not_finite_under_the_mask_stays_there():
    """A key that nobody sees, and a query that sees nothing, in values and in gradients."""
    query, key, value = (x.copy() for x in QKV)
    mask = np.ones((B, 1, T, S), bool)
    mask[..., 3], mask[:, :, 2] = False, False
    key[..., 3, :], value[..., 3, :], query[..., 2, :] = np.nan, np.inf, np.nan

    @jax.jit
    def value_and_gradients(*qkv):
        y, back = jax.vjp(lambda *qkv: F.attention(*qkv, mask, keep=KEEP), *qkv)
        return y, back(jnp.ones_like(y))

    y, gradients = value_and_gradients(query, key, value)
    assert np.isfinite(y).all()
    assert all(np.isfinite(one).all() for one in gradients)
    assert not y[:, :, 2].any()
    assert np.abs(gradients[1]).sum() > 0


@given(data=st.data())
@examples(40)
def test_visible_is_what_its_rule_says(data):
    queries = data.draw(st.lists(st.integers(0, 9), min_size=4, max_size=4))
    keys = data.draw(st.lists(st.integers(0, 9), min_size=6, max_size=6))
    causal, window = data.draw(st.booleans()), data.draw(st.none() | st.integers(1, 4))
    seen = F.visible(np.array(queries), np.array(keys), causal=causal, window=window)
    wanted = [
        [(s <= t or not causal) and (window is None or abs(t - s) < window) for s in keys]
        for t in queries
    ]
    np.testing.assert_array_equal(seen, wanted)


def test_alibis_slopes_are_the_papers():
    def slopes(heads):
        return -np.asarray(F.alibi(heads, np.array([1]), np.array([0])))[:, 0, 0]

    np.testing.assert_allclose(slopes(8), 2.0 ** -np.arange(1, 9))
    sixteen = 2.0 ** (-np.arange(1, 17) / 2)
    np.testing.assert_allclose(slopes(16), sixteen, rtol=1e-6)
    np.testing.assert_allclose(slopes(12), [*slopes(8), *sixteen[:8:2]], rtol=1e-6)
    one = np.asarray(F.alibi(1, np.array([[3]]), np.array([[1, 3, 4]])))
    np.testing.assert_allclose(one[0, 0, 0], [-2 / 256, 0, -1 / 256])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window is 0, but a place sees itself at least: 1"),
        ({"soft_cap": 0.0}, "soft_cap is 0.0, but must exceed 0"),
        ({"bias": np.ones((5, 4), np.float32)}, "bias (5, 4) does not broadcast"),
        ({"keep": np.ones((2, 4, 5), np.float32)}, "keep (2, 4, 5) does not broadcast"),
    ],
)
def test_refuses_settings(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        F.attention(*arrays((4, 6), (5, 6), (5, 6)), **settings)


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


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint32])
def test_places_of_any_integers_are_places(dtype):
    """Unsigned differences wrap: a causal mask of them would show the future."""
    places = np.arange(5)
    seen = F.visible(places.astype(dtype), places.astype(dtype), window=3)
    distance = places[:, None] - places
    np.testing.assert_array_equal(seen, (distance >= 0) & (distance < 3))
    bias = F.alibi(1, places.astype(dtype), places.astype(dtype))[0]
    np.testing.assert_allclose(bias, -(2.0**-8) * abs(distance))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.visible([0.0, 1.0], [0, 1]), TypeError, "visible: queries are float32, but pl"),
        (lambda: F.visible([0, 1], [0, 1], window=0), ValueError, "visible: window is 0, but a pl"),
        (lambda: F.visible(0, [0, 1]), ValueError, r"visible: queries \(\) and keys \(2,\) are pl"),
        (lambda: F.alibi(0, [0], [0]), ValueError, "alibi: heads is 0, but ≥ 1 is wanted"),
        (
            lambda: F.attention([1.0], [1.0], [1.0]),
            ValueError,
            r"query \(1,\), key \(1,\) and value",
        ),
        (
            lambda: F.attention([[1.0]], [[1]], [[1.0]]),
            TypeError,
            "attention: key is int32, but fl",
        ),
    ],
)
def test_what_are_no_places_and_no_sequences_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
