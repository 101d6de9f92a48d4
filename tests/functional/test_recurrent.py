"""Recurrent networks: all steps at once beside one step after another, Flax's and PyTorch's."""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from scipy.special import expit

from dlcore import functional as F

B, T, I, H = 3, 5, 4, 6
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 0, 1]], bool)


def drawn(*shapes, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


# name: (over time, one step, gates, how many arrays the carry is)
KINDS = {
    "rnn": (F.rnn, F.rnn_cell, 1, 1),
    "rnn relu": (
        functools.partial(F.rnn, activation="relu"),
        functools.partial(F.rnn_cell, activation="relu"),
        1,
        1,
    ),
    "lstm": (F.lstm, F.lstm_cell, 4, 2),
    "lstm with all": (F.lstm, F.lstm_cell, 4, 2),
    "gru": (F.gru, F.gru_cell, 3, 1),
    "gru with bias": (F.gru, F.gru_cell, 3, 1),
    "gru before": (
        functools.partial(F.gru, reset="before"),
        functools.partial(F.gru_cell, reset="before"),
        3,
        1,
    ),
}


def problem(name, dtype=np.float32):
    """(over time, one step), and (z, kernel, carry, extra arguments) for both."""
    whole, cell, gates, count = KINDS[name]
    z, kernel, carry = drawn((B, T, gates * H), (H, gates * H), (2, B, H), dtype=dtype)
    extra = {}
    if name == "lstm with all":
        peepholes, projection = drawn((3, H), (H, 2), seed=1, dtype=dtype)
        extra = {"peepholes": peepholes, "projection": projection}
        return whole, cell, (z, kernel[:2], (carry[0][:, :2], carry[1]), extra)
    if name == "gru with bias":
        extra = {"bias": drawn((H,), seed=1, dtype=dtype)[0]}
    return whole, cell, (z, kernel / 2, carry[0] if count == 1 else tuple(carry), extra)


def step_by_step(cell, z, kernel, carry, mask, reverse):
    """The steps as a loop of Python."""
    outputs = [None] * T
    for t in range(T)[::-1] if reverse else range(T):
        new = cell(z[:, t], kernel, carry)
        carry = jax.tree.map(lambda a, b, t=t: jnp.where(mask[:, t, None], a, b), new, carry)
        outputs[t] = jax.tree.leaves(carry)[0]
    return jnp.stack(outputs, axis=1), carry


def derivatives(function, *point):
    """Values and tangents, the gradient and what its Hessian gives."""

    def loss(*point):
        return sum(jnp.sum(jnp.sin(3 * leaf)) for leaf in jax.tree.leaves(function(*point)))

    gradient = jax.grad(loss, range(len(point)))
    return jax.jvp(function, point, point), jax.jvp(gradient, point, point)


VARIANTS = {"rnn relu", "lstm with all", "gru with bias"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in VARIANTS else name for name in KINDS],
)
@pytest.mark.parametrize("reverse", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_all_steps_at_once_are_one_after_another(name, reverse, x64):
    """Plain; and with a mask and with units that are kept: the derivatives are our own."""
    whole, cell, (*point, extra) = problem(name, np.float64)
    outputs = 2 if name == "lstm with all" else H
    keep = 2.0 * np.random.default_rng(2).integers(0, 2, (B, outputs))

    def ours(mask, keep, z, kernel, carry, extra):
        return whole(z, kernel, carry, mask, reverse=reverse, keep=keep, **extra)

    def plain(mask, keep, z, kernel, carry, extra):
        one = functools.partial(cell, keep=keep, **extra)
        mask = np.ones((B, T), bool) if mask is None else mask
        return step_by_step(one, z, kernel, carry, mask, reverse)

    @jax.jit
    def both(*point):
        return [
            [
                derivatives(functools.partial(one, *how), *point)
                for how in ((None, None), (MASK, keep))
            ]
            for one in (ours, plain)
        ]

    found, expected = both(*point, extra)
    chex.assert_trees_all_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_step_is_that_of_the_papers():
    """In NumPy, equation by equation: both places of a GRU's reset gate, and peepholes."""
    (h, c, p, q) = drawn((B, H), (B, H), (3, H), (H, 2))
    z, kernel = drawn((B, 4 * H), (H, 4 * H), seed=1)
    found = F.lstm_cell(z, kernel[:2], (h[:, :2], c), peepholes=p, projection=q)
    a = z + h[:, :2] @ kernel[:2]
    i, f, g, o = (a[:, n * H : (n + 1) * H] for n in range(4))
    new = expit(f + p[1] * c) * c + expit(i + p[0] * c) * np.tanh(g)
    out = expit(o + p[2] * new) * np.tanh(new) @ q
    chex.assert_trees_all_close(found, (out, new), rtol=1e-4, atol=1e-5)
    z, kernel, bias = drawn((B, 3 * H), (H, 3 * H), (H,), seed=2)
    k = [kernel[:, n * H : (n + 1) * H] for n in range(3)]
    r, u = (expit(z[:, n * H : (n + 1) * H] + h @ k[n]) for n in (0, 1))
    before = np.tanh(z[:, 2 * H :] + (r * h) @ k[2])
    after = np.tanh(z[:, 2 * H :] + r * (h @ k[2] + bias))
    for n, how in ((before, {"reset": "before"}), (after, {"bias": bias})):
        found = F.gru_cell(z, kernel, h, **how)
        np.testing.assert_allclose(found, (1 - u) * n + u * h, rtol=1e-4, atol=1e-5)


def of_flax(cell, names, x):
    """Flax's outputs, and its kernels and biases as one of each, in the order of `names`."""
    network = linen.RNN(cell)
    params = network.init(jax.random.key(0), x)["params"]["cell"]
    moved = jax.tree.map(lambda leaf: leaf + 0.1, params)

    def joined(letter, leaf):
        parts = [moved[f"{letter}{name}"].get(leaf, jnp.zeros(H)) for name in names]
        return jnp.concatenate(parts, axis=-1)

    lengths = MASK.sum(axis=1)  # a prefix of the steps
    y = network.apply({"params": {"cell": moved}}, x, seq_lengths=lengths)
    return y, joined, np.arange(T) < lengths[:, None]


def test_they_are_flaxs(standard_promotion):
    (x,) = drawn((B, T, I))
    zeros = jnp.zeros((B, H))
    y, of, real = of_flax(linen.OptimizedLSTMCell(H), "ifgo", x)
    z = x @ of("i", "kernel") + of("h", "bias")
    found, _ = F.lstm(z, of("h", "kernel"), (zeros, zeros), real)
    np.testing.assert_allclose(found[real], y[real], rtol=1e-5, atol=1e-5)
    y, of, real = of_flax(linen.GRUCell(H), "rzn", x)
    z = x @ of("i", "kernel") + of("i", "bias")
    found, _ = F.gru(z, of("h", "kernel"), zeros, real, bias=of("h", "bias")[2 * H :])
    np.testing.assert_allclose(found[real], y[real], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru before"])
def test_what_is_not_finite_under_the_mask_stays_there(name):
    whole, _, (z, *rest, extra) = problem(name)
    bad = np.where(MASK[..., None], z, np.nan)

    @jax.jit
    def measured(z):
        def loss(z, kernel, carry):
            hs, end = whole(z, kernel, carry, MASK, **extra)
            return jnp.sum(hs**2), (hs, end)

        return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(z, *rest)

    (_, found), gradient = measured(bad)
    assert not jax.tree.leaves(gradient)[0][~MASK].any()
    chex.assert_trees_all_close((found, gradient), (measured(z)[0][1], measured(z)[1]))


def test_the_last_output_is_that_of_the_last_real_step_and_no_step_keeps_the_carry():
    whole, _, (z, kernel, carry, _) = problem("lstm")
    hs, (h, _) = whole(z, kernel, carry, MASK)
    alone, _ = whole(z[1:2, :2], kernel, tuple(one[1:2] for one in carry))
    np.testing.assert_allclose(hs[1, -1], alone[0, -1], rtol=1e-5)
    np.testing.assert_array_equal(hs[:, -1], h)
    never, end = whole(z, kernel, carry, np.zeros((B, T), bool))
    chex.assert_trees_all_equal(end, carry)
    np.testing.assert_array_equal(never, np.repeat(carry[0][:, None], T, axis=1))
    empty, end = whole(z[:, :0], kernel, carry)
    assert (empty.shape, end) == ((B, 0, H), carry)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda z, k, h: F.lstm(z[..., :7], k, (h, h)), r"z is \[B, T, 4 · H\], got \[3, 5, 7\]"),
        (lambda z, k, h: F.lstm(z, k[:, :8], (h, h)), r"kernel is \[6, 8\], but \[6, 24\] fits"),
        (lambda z, k, h: F.lstm(z, k, (h[:1], h)), r"lstm: h is \[1, 6\], but \[3, 6\] fits"),
        (lambda z, k, h: F.lstm(z, k, (h, h), MASK[:, :2]), r"mask is \[3, 2\], but \[3, 5\]"),
        (lambda z, k, h: F.lstm(z, k, (h, h), MASK * 1.0), "mask is float64, but True"),
        (lambda z, k, h: F.lstm(z.astype(int), k, (h, h)), "z is int32, but floating point"),
        (lambda z, k, h: F.gru(z[..., :18], k[:, :18], h, reset="never"), "must be one of"),
        (
            lambda z, k, h: F.gru(z[..., :18], k[:, :18], h, reset="before", bias=h[0]),
            'that reset="after" multiplies',
        ),
        (lambda z, k, h: F.rnn(z[..., :6], k[:, :6], h, activation="elu"), "must be one of"),
        (lambda z, k, h: F.rnn(z[..., :6], k[:, :6], h, keep=h[0]), r"keep is \[6\], but"),
    ],
)
def test_what_does_not_fit_is_refused(call, told):
    with pytest.raises((ValueError, TypeError), match=told):
        call(*drawn((B, T, 4 * H), (H, 4 * H), (B, H)))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_closed_gates_learn_in_bfloat16(name):
    """As one step after another: σ(−7) is 0.0009, which is not 0 in 8 digits."""
    over_time, cell, gates, count = KINDS[name]
    z = jnp.full((B, T, gates * H), -7, jnp.bfloat16)
    kernel = jnp.zeros((H, gates * H), jnp.bfloat16)
    carry = (jnp.ones((B, H), jnp.bfloat16),) * count
    carry = carry if count > 1 else carry[0]

    @jax.jit
    def both(z):
        def of(function):
            def loss(z):
                return jnp.sum(function(z), dtype=jnp.float32)

            return function(z), jax.grad(loss)(z)

        steps = functools.partial(
            step_by_step,
            cell,
            kernel=kernel,
            carry=carry,
            mask=jnp.ones((B, T), bool),
            reverse=False,
        )
        return of(lambda z: over_time(z, kernel, carry)[0]), of(lambda z: steps(z)[0])

    (fast, of_fast), (plain, of_plain) = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float32), both(z)
    )
    assert np.abs(of_fast).max() > 0
    np.testing.assert_allclose(fast, plain, rtol=0.05, atol=1e-6)
    np.testing.assert_allclose(of_fast, of_plain, rtol=0.1, atol=1e-6)
