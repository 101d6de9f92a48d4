"""The product of a fully connected layer."""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp

# On a CPU a small matrix product is computed faster in line with what is around it than as a call
# into a library. A step of 2-8-8-1, batch 32, in a hand-written scan: 5.0 µs with products, 2.65
# without (two cores). The limit, in multiplications, is a guess above that network's 2,048.
IN_LINE = 4096

NARROW = 32  # columns of a kernel, at most, whose gradient is computed turned over

Pair = tuple[jax.Array, jax.Array]

_is_batched = contextvars.ContextVar("is_batched", default=False)


def linear(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """y = x · kernel, for x [..., I] and kernel [I, O]."""
    if kernel.ndim != 2 or x.shape[-1:] != kernel.shape[:1]:
        raise ValueError(
            f"linear: x {x.shape} and kernel {kernel.shape} do not fit: x is [..., I] and the "
            "kernel [I, O]"
        )
    if jax.default_backend() != "cpu" or _is_batched.get() or x.dtype != jnp.float32:
        return jnp.matmul(x, kernel)
    size = x.size if isinstance(x.size, int) else math.inf  # exported for a batch of any size
    if size * kernel.shape[-1] <= IN_LINE:
        return _in_line(x, kernel)
    if kernel.shape[-1] <= NARROW and x.dtype == kernel.dtype:
        return _narrow(x, kernel)
    return _rows(x, kernel)


def _rows(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x · kernel as one product of matrices, and so is its kernel's gradient.

    Over two axes at once XLA sums that gradient slower. CPU-ms of the product with its gradients,
    by both axes and in rows: 16×128 places, 128 to 512 12.4 and 8.8; 32×64, 64 to 1024 17.8 and
    9.4; ViT's 32×197, 192 to 768 72.7 and 65.1 (two cores, jax 0.12).
    """
    if x.ndim <= 2:
        return jnp.matmul(x, kernel)
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    y = jnp.matmul(rows, kernel)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


@jax.custom_jvp
def _in_line(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x · kernel as a sum of products.

    Behind the barrier the gradient δ is computed once; without it XLA computes it anew wherever it
    is read, in the innermost of three loops: a step of 2-8-8-1, batch 32, took 2.60 and takes
    0.87 µs (two cores, jax 0.12; 0.10, which removes the barrier too soon, 3.2 both).
    """
    return jnp.sum(x[..., None] * kernel, axis=-2)


@_in_line.defjvp
def _in_line_derivative(values: Pair, tangents: Pair) -> Pair:
    (x, kernel), (x_tangent, kernel_tangent) = values, tangents
    change = _in_line(x_tangent, kernel) + _in_line(x, kernel_tangent)
    return _in_line(x, kernel), jax.lax.optimization_barrier(change)


@jax.custom_jvp
def _narrow(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x · kernel, of which the kernel's gradient is (δᵀ · x)ᵀ in place of xᵀ · δ.

    They are one number for number, but XLA's product of a turned x is slow where the columns are
    few, most of all at widths that are powers of two. Microseconds for xᵀδ and for (δᵀx)ᵀ, batch
    128 (two cores, jax 0.12; 0.10): 512 to 10 195 and 28; 195 and 28; 784 to 32 92 and 60; 75 and
    80; 1024 to 16 285 and 62; 278 and 58.
    """
    return jnp.matmul(x, kernel)


@_narrow.defjvp
def _narrow_derivative(values: Pair, tangents: Pair) -> Pair:
    (x, kernel), (x_tangent, kernel_tangent) = values, tangents
    change = jnp.matmul(x_tangent, kernel) + _turned(x, kernel_tangent)
    return _narrow(x, kernel), change


def _turned(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x · kernel as (kernelᵀ · xᵀ)ᵀ; without the barriers XLA would turn it back."""
    wall = jax.lax.optimization_barrier
    rows = x.reshape(-1, x.shape[-1])
    y = wall(jnp.matmul(wall(kernel.T), rows.T)).T
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


@contextlib.contextmanager
def batched() -> Iterator[None]:
    """For what is traced to run under `vmap`, which a function cannot see from inside.

    There a product in line is one over arrays of all networks, too large to be small: a step of 64
    networks 2-8-8-1 took 3 times as long as with the library's products, 220 against 74 µs a step
    of 12 batches (two cores).
    """
    token = _is_batched.set(True)
    try:
        yield
    finally:
        _is_batched.reset(token)
