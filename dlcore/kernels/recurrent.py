"""The steps of recurrent networks, each with a derivative of its own.

What automatic differentiation makes of such a loop adds a product to the kernel's gradient in each
step, and computes every gate's slope inside of the loop. Here the slopes are computed for all steps
at once, the loop of the tangents does nothing but what depends on the step before, and what the
kernel's tangent brings is one product of all steps: turned over by JAX, so is the kernel's
gradient. As rules for tangents they serve both modes, and higher derivatives.

A training step of a language model (65 characters, 64 → 256, 32 × 64) took 93 CPU-ms with the plain
loop and 64 with these (two cores, jax 0.12).

Time is the leading axis: z [T, B, …], mask [T, B, 1] or None, keep [B, H] or None.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Step = Callable[[Any, Any], tuple[Any, Any]]


def _own(function: Callable[..., Any]) -> Any:
    """With a derivative of its own; the last argument and the one before are no arrays."""
    return functools.partial(jax.custom_jvp, nondiff_argnums=(5, 6))(function)


# ------------------------------------------------------------------------------------------ rnn

SLOPES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "tanh": (jnp.tanh, lambda h: 1 - h * h),
    "relu": (jax.nn.relu, lambda h: (h > 0).astype(h.dtype)),
}


@_own
def rnn(
    z: jax.Array,
    kernel: jax.Array,
    h: jax.Array,
    mask: jax.Array | None,
    keep: jax.Array | None,
    activation: str,
    reverse: bool,
) -> tuple[jax.Array, jax.Array]:
    """(hs [T, B, H], h): hₜ = activation(zₜ + hₜ₋₁ · kernel)."""
    function, _ = SLOPES[activation]

    def step(h: jax.Array, at: Any) -> tuple[jax.Array, jax.Array]:
        z, real = at
        h = _chosen(real, function(z + entering(h, keep) @ kernel), h)
        return h, h

    h, hs = jax.lax.scan(step, h, (z, mask), reverse=reverse)
    return hs, h


@rnn.defjvp
def _rnn_tangents(activation: str, reverse: bool, values: Any, tangents: Any) -> Any:
    z, kernel, start, mask, keep = values
    dz, dkernel, dstart, *_ = tangents
    hs, end = rnn(z, kernel, start, mask, keep, activation, reverse)
    _, slope = SLOPES[activation]
    before = _before(start, hs, reverse)
    slopes = _chosen(mask, slope(hs), 0.0)

    def step(dh: jax.Array, at: Any) -> tuple[jax.Array, jax.Array]:
        da, slope, real = at
        dh = slope * (da + entering(dh, keep) @ kernel) + _stayed(real, dh)
        return dh, dh

    da = dz + _rows(entering(before, keep), dkernel)
    dend, dhs = jax.lax.scan(step, dstart, (da, slopes, mask), reverse=reverse)
    return (hs, end), (dhs, dend)


# ----------------------------------------------------------------------------------------- lstm


@_own
def lstm(
    z: jax.Array,
    kernel: jax.Array,
    carry: tuple[jax.Array, jax.Array],
    mask: jax.Array | None,
    keep: jax.Array | None,
    _: None,
    reverse: bool,
) -> tuple[jax.Array, Any]:
    """(hs [T, B, H], (h, c)): the gates i, f, g, o are parts of zₜ + hₜ₋₁ · kernel."""
    carry, hs = _lstm(z, kernel, carry, mask, keep, reverse, lambda h, *_: h)
    return hs, carry


def _lstm(
    z: Any, kernel: Any, carry: Any, mask: Any, keep: Any, reverse: bool, saved: Callable[..., Any]
) -> tuple[Any, Any]:
    """The carry after all steps, and what `saved` takes of h, c, i, f, g, o for each."""

    def step(carry: Any, at: Any) -> tuple[Any, Any]:
        z, real = at
        i, f, g, o = jnp.split(z + entering(carry[0], keep) @ kernel, 4, axis=-1)
        i, f, g, o = (jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o))
        c = f * carry[1] + i * g
        h, c = _chosen(real, (o * jnp.tanh(c), c), carry)
        return (h, c), saved(h, c, i, f, g, o)

    return jax.lax.scan(step, carry, (z, mask), reverse=reverse)


@lstm.defjvp
def _lstm_tangents(_: None, reverse: bool, values: Any, tangents: Any) -> Any:
    z, kernel, carry, mask, keep = values
    dz, dkernel, dcarry, *_ = tangents
    end, (hs, cs, i, f, g, o) = _lstm(z, kernel, carry, mask, keep, reverse, lambda *all: all)
    before = _before(carry[0], hs, reverse), _before(carry[1], cs, reverse)
    t = jnp.tanh(cs)
    by_gate = (g * i * (1 - i), before[1] * f * (1 - f), i * (1 - g * g), t * o * (1 - o))
    slopes = _chosen(mask, (*by_gate, o * (1 - t * t), f), (0.0, 0.0, 0.0, 0.0, 0.0, 1.0))

    def step(carry: Any, at: Any) -> tuple[Any, Any]:
        da, (to_i, to_f, to_g, to_o, c_to_h, c_to_c), real = at
        dh, dc = carry
        di, df, dg, do = jnp.split(da + entering(dh, keep) @ kernel, 4, axis=-1)
        dc = c_to_c * dc + to_i * di + to_f * df + to_g * dg
        dh = c_to_h * dc + to_o * do + _stayed(real, dh)
        return (dh, dc), dh

    da = dz + _rows(entering(before[0], keep), dkernel)
    dend, dhs = jax.lax.scan(step, dcarry, (da, slopes, mask), reverse=reverse)
    return (hs, end), (dhs, dend)


# ------------------------------------------------------------------------------------------ gru


@_own
def gru_after(
    z: jax.Array,
    kernels: tuple[jax.Array, jax.Array],
    h: jax.Array,
    mask: jax.Array | None,
    keep: jax.Array | None,
    _: None,
    reverse: bool,
) -> tuple[jax.Array, jax.Array]:
    """(hs [T, B, H], h): the reset gate stands after the product; kernels are (kernel, bias)."""
    h, hs = _gru_after(z, kernels, h, mask, keep, reverse, lambda h, *_: h)
    return hs, h


def _gru_after(
    z: Any, kernels: Any, h: Any, mask: Any, keep: Any, reverse: bool, saved: Callable[..., Any]
) -> tuple[Any, Any]:
    kernel, bias = kernels

    def step(h: Any, at: Any) -> tuple[Any, Any]:
        z, real = at
        r, u, n = jnp.split(z, 3, axis=-1)
        of_r, of_u, of_n = jnp.split(entering(h, keep) @ kernel, 3, axis=-1)
        r, u, q = jax.nn.sigmoid(r + of_r), jax.nn.sigmoid(u + of_u), of_n + bias
        n = jnp.tanh(n + r * q)
        h = _chosen(real, (1 - u) * n + u * h, h)
        return h, saved(h, r, u, n, q)

    return jax.lax.scan(step, h, (z, mask), reverse=reverse)


@gru_after.defjvp
def _gru_after_tangents(_: None, reverse: bool, values: Any, tangents: Any) -> Any:
    z, kernels, start, mask, keep = values
    dz, (dkernel, dbias), dstart, *_ = tangents
    end, (hs, r, u, n, q) = _gru_after(z, kernels, start, mask, keep, reverse, lambda *all: all)
    kernel, _ = kernels
    before = _before(start, hs, reverse)
    to_n = (1 - u) * (1 - n * n)
    to_r, to_u = to_n * q * r * (1 - r), (before - n) * u * (1 - u)
    slopes = (to_r, to_u, to_n * r, u)
    to_r, to_u, to_q, h_to_h = _chosen(mask, slopes, (0.0, 0.0, 0.0, 1.0))
    by_z = _chosen(mask, _dot((to_r, to_u, to_n), dz), 0.0)

    def step(dh: Any, at: Any) -> tuple[Any, Any]:
        known, da, slopes, h_to_h = at
        dh = known + _dot(slopes, da + entering(dh, keep) @ kernel) + h_to_h * dh
        return dh, dh

    da = _rows(entering(before, keep), dkernel)
    da = da + jnp.concatenate([jnp.zeros_like(dbias), jnp.zeros_like(dbias), dbias])
    steps = (by_z, da, (to_r, to_u, to_q), h_to_h)
    dend, dhs = jax.lax.scan(step, dstart, steps, reverse=reverse)
    return (hs, end), (dhs, dend)


@_own
def gru_before(
    z: jax.Array,
    kernels: tuple[jax.Array, jax.Array],
    h: jax.Array,
    mask: jax.Array | None,
    keep: jax.Array | None,
    _: None,
    reverse: bool,
) -> tuple[jax.Array, jax.Array]:
    """(hs [T, B, H], h): the reset gate stands before the product; kernels of (r, u) and of n."""
    h, hs = _gru_before(z, kernels, h, mask, keep, reverse, lambda h, *_: h)
    return hs, h


def _gru_before(
    z: Any, kernels: Any, h: Any, mask: Any, keep: Any, reverse: bool, saved: Callable[..., Any]
) -> tuple[Any, Any]:
    def step(h: Any, at: Any) -> tuple[Any, Any]:
        (of_gates, of_n), real = at
        gates = jax.nn.sigmoid(of_gates + entering(h, keep) @ kernels[0])
        r, u = jnp.split(gates, 2, axis=-1)
        n = jnp.tanh(of_n + entering(r * h, keep) @ kernels[1])
        h = _chosen(real, (1 - u) * n + u * h, h)
        return h, saved(h, r, u, n)

    units = z.shape[-1] // 3
    parts = z[..., : 2 * units], z[..., 2 * units :]
    return jax.lax.scan(step, h, (parts, mask), reverse=reverse)


@gru_before.defjvp
def _gru_before_tangents(_: None, reverse: bool, values: Any, tangents: Any) -> Any:
    z, kernels, start, mask, keep = values
    dz, dkernels, dstart, *_ = tangents
    end, (hs, r, u, n) = _gru_before(z, kernels, start, mask, keep, reverse, lambda *all: all)
    before = _before(start, hs, reverse)
    slopes = ((1 - u) * (1 - n * n), (before - n) * u * (1 - u), r * (1 - r) * before, r, u)
    slopes = _chosen(mask, slopes, (0.0, 0.0, 0.0, 0.0, 1.0))

    def step(dh: Any, at: Any) -> tuple[Any, Any]:
        da, dn, (to_n, to_u, r_to_q, h_to_q, h_to_h) = at
        dr, du = jnp.split(da + entering(dh, keep) @ kernels[0], 2, axis=-1)
        dn = dn + entering(r_to_q * dr + h_to_q * dh, keep) @ kernels[1]
        dh = to_n * dn + to_u * du + h_to_h * dh
        return dh, dh

    units = z.shape[-1] // 3
    da = dz[..., : 2 * units] + _rows(entering(before, keep), dkernels[0])
    dn = dz[..., 2 * units :] + _rows(entering(r * before, keep), dkernels[1])
    dend, dhs = jax.lax.scan(step, dstart, (da, dn, slopes), reverse=reverse)
    return (hs, end), (dhs, dend)


# ---------------------------------------------------------------------------------------- parts


def entering(h: jax.Array, keep: jax.Array | None) -> jax.Array:
    """What of h enters a product, `keep` times of it."""
    return h if keep is None else h * keep


def _chosen(mask: jax.Array | None, real: Any, other: Any) -> Any:
    """Trees of arrays (or numbers) where the mask is True, and elsewhere."""
    if mask is None:
        return real
    return jax.tree.map(lambda one, two: jnp.where(mask, one, two), real, other)


def _stayed(mask: jax.Array | None, dh: jax.Array) -> jax.Array | float:
    """What of dh goes by a step that was none."""
    return 0.0 if mask is None else jnp.where(mask, 0.0, dh)


def _before(first: jax.Array, after: jax.Array, reverse: bool) -> jax.Array:
    """What each step began with, [T, B, H], of what was after it."""
    parts = [after[1:], first[None]] if reverse else [first[None], after[:-1]]
    return jnp.concatenate(parts)


def _rows(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x · kernel, whose transpose is one product of matrices."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


def _dot(slopes: tuple[jax.Array, ...], changes: jax.Array) -> jax.Array:
    """The sum of the slopes times the parts of `changes`."""
    parts = jnp.split(changes, len(slopes), axis=-1)
    return sum((a * b for a, b in zip(slopes[1:], parts[1:], strict=True)), slopes[0] * parts[0])
