"""Activation functions: arrays in, arrays of the same dtype out.

They are finite, with their first and second derivatives, wherever mathematics is; NaN stays NaN.
Integers are refused, because a result in the same dtype would be rounded.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dlcore.checks import floating, is_concrete, wide_dtype
from dlcore.functional.broadcast import broadcast


def identity(x: Any) -> Any:
    """f(x) = x, whatever x is."""
    return x


def step(x: ArrayLike) -> jax.Array:
    """The threshold f(x) = 1 where x ≥ 0, else 0. Its gradient is 0 everywhere.

    >>> step(jnp.array([-2.0, 0.0, 3.0])).tolist()
    [0.0, 1.0, 1.0]
    """
    x = floating("step", "x", x)
    return jnp.where(jnp.isnan(x), x, (x >= 0).astype(x.dtype))


def sigmoid(x: ArrayLike) -> jax.Array:
    """The logistic function σ(x) = 1 / (1 + e⁻ˣ)."""
    return jax.nn.sigmoid(floating("sigmoid", "x", x))


def tanh(x: ArrayLike) -> jax.Array:
    """tanh x = (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)."""
    return jnp.tanh(floating("tanh", "x", x))


def relu(x: ArrayLike) -> jax.Array:
    """f(x) = max(0, x), with f′(0) = 0 (jnp.maximum's would be ½).

    >>> float(jax.grad(relu)(0.0))
    0.0
    """
    return jax.nn.relu(floating("relu", "x", x))


def leaky_relu(x: ArrayLike, negative_slope: float | jax.Array = 0.01) -> jax.Array:
    """f(x) = max(αx, x), where α = `negative_slope` lies in [0, 1), and f′(0) = α.

    Another α is refused, since max(αx, x) would then bend the other way: `prelu` takes any.
    """
    if is_concrete(negative_slope) and not 0 <= float(negative_slope) < 1:
        raise ValueError(
            f"leaky_relu: negative_slope is {negative_slope}, but max(αx, x) wants 0 ≤ α < 1; "
            "prelu(x, alpha) takes any"
        )
    return prelu(floating("leaky_relu", "x", x), negative_slope)


def prelu(x: ArrayLike, alpha: ArrayLike) -> jax.Array:
    """f(x) = max(0, x) + α·min(0, x), where α is learned, and f′(0) = α.

    `alpha` is a scalar, or one for each channel: [C] for x [..., C], or one for each element of an
    example: [...] for x [B, ...]. PyTorch's channel is axis 1. He et al. 2015, equation 1.
    """
    x = floating("prelu", "x", x)
    if jnp.shape(alpha) not in ((), x.shape[-1:], x.shape[1:]):
        raise ValueError(
            f"prelu: alpha has shape {jnp.shape(alpha)} for x {x.shape}, but a scalar (), one "
            f"value a channel {x.shape[-1:]} or one an element {x.shape[1:]} is wanted"
        )
    positive, negative = jnp.where(x > 0, x, 0), jnp.where(x > 0, 0, x)
    return positive + broadcast(alpha, x) * negative


def elu(x: ArrayLike, alpha: float = 1.0) -> jax.Array:
    """f(x) = x where x > 0, else α(eˣ − 1). Clevert et al. 2016."""
    x = floating("elu", "x", x)
    negative = jnp.where(x > 0, 0, x)  # e to the power of a large x must not even be unused
    return jnp.where(x > 0, x, alpha * jnp.expm1(negative))


def softplus(x: ArrayLike) -> jax.Array:
    """f(x) = ln(1 + eˣ), a smooth relu whose derivative is σ(x)."""
    return jnp.logaddexp(floating("softplus", "x", x), 0.0)


def gelu(x: ArrayLike, *, approximate: bool = False) -> jax.Array:
    """f(x) = x·Φ(x), where Φ(x) = ½·erfc(−x/√2) is the normal distribution's.

    With `approximate`, Φ(x) ≈ ½(1 + tanh(√(2/π)(x + 0.044715x³))). Hendrycks and Gimpel 2016.
    jax.nn.gelu approximates by default; PyTorch, as here, does not.
    """
    return _gated(floating("gelu", "x", x), _approximate_normal if approximate else _normal, 40)


def silu(x: ArrayLike) -> jax.Array:
    """f(x) = x·σ(x), also called swish. Elfwing et al. 2017."""
    return _gated(floating("silu", "x", x), jax.nn.sigmoid, 1000)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _gated(x: jax.Array, gate: Callable[[jax.Array], jax.Array], closed: float) -> jax.Array:
    """x·gate(x); where |x| ≥ `closed`, the gate is 0 or 1 to the last bit of float64.

    There the product is max(0, x), while −∞·0 and the derivatives of the gate would give NaN.
    """
    return _gated_and_slope(x, gate, closed)[0]


@_gated.defjvp
def _gated_jvp(gate: Any, closed: float, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """With the slope as the one array that is kept; by JAX's rules approximate gelu keeps nine."""
    (x,), (dx,) = primals, tangents
    y, slope = _gated_and_slope(x, gate, closed)
    return y, slope * dx


def _gated_and_slope(x: jax.Array, gate: Any, closed: float) -> tuple[jax.Array, jax.Array]:
    near = jnp.clip(x, -closed, closed)
    outside = jnp.abs(x) >= closed
    y, slope = jax.jvp(lambda x: x * gate(x), (near,), (jnp.ones_like(near),))
    flat = (x > 0).astype(x.dtype)
    return jnp.where(outside, jax.nn.relu(x), y), jnp.where(outside, flat, slope)


def _normal(x: jax.Array) -> jax.Array:
    return 0.5 * jax.scipy.special.erfc(-x * math.sqrt(0.5))


def _approximate_normal(x: jax.Array) -> jax.Array:
    return 0.5 * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x: ArrayLike, axis: int = -1) -> jax.Array:
    """f(x)ⱼ = exp(xⱼ) / Σₖ exp(xₖ) along `axis`.

    An x of −∞ gets exactly 0, and where all along the axis are −∞, which no limit belongs to, all
    get 0, without gradient: of nothing, attention takes nothing (PyTorch and JAX give NaN). +∞ is
    NaN.
    """
    return _softmax(floating("softmax", "x", x), axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _softmax(x: jax.Array, axis: int) -> jax.Array:
    largest = jnp.max(x, axis, keepdims=True, initial=-jnp.inf)
    powers = jnp.exp(x - jnp.where(largest == -jnp.inf, 0, largest))
    total = jnp.sum(powers, axis, keepdims=True)
    return powers / jnp.where(total == 0, 1, total)


@_softmax.defjvp
def _softmax_jvp(axis: int, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    y = _softmax(x, axis)
    return y, y * (dx - jnp.sum(y * dx, axis, keepdims=True))


def log_softmax(x: ArrayLike, axis: int = -1) -> jax.Array:
    """f(x)ⱼ = xⱼ − ln Σₖ exp(xₖ) along `axis`; NaN where all of them are −∞."""
    return jax.nn.log_softmax(floating("log_softmax", "x", x), axis)


def rbf_squared_distance(x: ArrayLike, centers: ArrayLike) -> jax.Array:
    """zⱼ = Σᵢ (xᵢ − wⱼᵢ)² for x [..., D] and centers w [J, D], giving [..., J].

    Summed as written, in float32 or wider: ‖x‖² − 2x·w + ‖w‖² is faster, but cancels to noise near
    a center.

    >>> rbf_squared_distance(jnp.array([1.0, 2.0]), jnp.array([[1.0, 2.0], [4.0, 6.0]])).tolist()
    [0.0, 25.0]
    """
    x = floating("rbf_squared_distance", "x", x)
    if jnp.ndim(centers) != 2 or x.shape[-1:] != jnp.shape(centers)[-1:]:
        raise ValueError(
            f"rbf_squared_distance: x {x.shape} and centers {jnp.shape(centers)} do not fit: "
            "x is [..., D] and centers are [J, D]"
        )
    wide = wide_dtype(x.dtype)
    difference = x.astype(wide)[..., None, :] - jnp.asarray(centers, wide)
    return jnp.sum(difference**2, axis=-1).astype(x.dtype)


def rbf_gaussian(x: ArrayLike, centers: ArrayLike, beta: ArrayLike) -> jax.Array:
    """zⱼ = exp(−β Σᵢ (xᵢ − wⱼᵢ)²), with β = `beta` a scalar, or one for each center [J]."""
    x = floating("rbf_gaussian", "x", x)
    distance = rbf_squared_distance(x.astype(wide_dtype(x.dtype)), centers)
    if jnp.shape(beta) not in ((), distance.shape[-1:]):
        raise ValueError(
            f"rbf_gaussian: beta has shape {jnp.shape(beta)}, "
            f"but a scalar () or one value a center {distance.shape[-1:]} is wanted"
        )
    return jnp.exp(-jnp.asarray(beta, distance.dtype) * distance).astype(x.dtype)
