"""Initializers: init(key, shape, dtype=float32) -> array.

The fans of a kernel [..., in, out] are N_in = r·in and N_out = r·out, where r is the product of
the axes before (the receptive field of a convolution). σ is the standard deviation of what is
drawn: the normals here are plain ones, while jax.nn.initializers (and Flax) truncate theirs at two
deviations and stretch them to keep σ. The uniforms are U(−√3·σ, √3·σ), which has the same σ.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.checks import is_concrete, one_of
from dlcore.keys import Key

_SHORTEST = 16384  # numbers drawn at once

Shape = Sequence[int]
Initializer = Callable[..., jax.Array]


def zeros(key: Key, shape: Shape, dtype: Any = jnp.float32) -> jax.Array:
    """All 0: an initializer itself, used without a call."""
    return _full(key, shape, 0, dtype)


def ones(key: Key, shape: Shape, dtype: Any = jnp.float32) -> jax.Array:
    """All 1: an initializer itself, used without a call."""
    return _full(key, shape, 1, dtype)


def constant(value: float) -> Initializer:
    """All `value`."""

    def init(key: Key, shape: Shape, dtype: Any = jnp.float32) -> jax.Array:
        return _full(key, shape, value, dtype)

    return init


def normal(std: float = 0.01) -> Initializer:
    """N(0, std²)."""
    return _normal(lambda shape: std)


def uniform(bound: float = 0.01) -> Initializer:
    """U(−bound, bound)."""
    return _uniform(lambda shape: bound / math.sqrt(3))


def lecun_normal() -> Initializer:
    """σ = 1 / √N_in, which keeps the variance. LeCun et al. 1998, "Efficient BackProp", (16)."""
    return _normal(lambda shape: math.sqrt(1 / fans(shape)[0]))


def lecun_uniform() -> Initializer:
    """As `lecun_normal`, uniform."""
    return _uniform(lambda shape: math.sqrt(1 / fans(shape)[0]))


def xavier_normal(fan: str = "fan_avg") -> Initializer:
    """σ = √(2 / (N_in + N_out)), Glorot and Bengio 2010, equation 12; σ = 1 / √N_in with "fan_in".

    "fan_in" is the form that lecture E and Caffe call Xavier's; it is `lecun_normal`.
    """
    return _normal(_xavier(fan))


def xavier_uniform(fan: str = "fan_avg") -> Initializer:
    """As `xavier_normal`, uniform: U(−b, b), b = √(6 / (N_in + N_out)), Glorot's equation 16."""
    return _uniform(_xavier(fan))


def he_normal(fan: str = "fan_in") -> Initializer:
    """σ = √(2 / N_in), which keeps the variance through a relu. He et al. 2015, equation 10.

    With "fan_out" it is √(2 / N_out), which keeps the gradient's (equation 14).
    """
    which = one_of("he_normal", "fan", fan, {"fan_in": 0, "fan_out": 1})
    return _normal(lambda shape: math.sqrt(2 / fans(shape)[which]))


def he_uniform() -> Initializer:
    """As `he_normal`, uniform: U(−b, b), b = √(6 / N_in)."""
    return _uniform(lambda shape: math.sqrt(2 / fans(shape)[0]))


def orthogonal(scale: float = 1.0) -> Initializer:
    """scale · Q, where Q [N_in, out] has orthonormal columns, or rows if there are fewer of them.

    Drawn uniformly from all of these: the Q of a normal matrix, with the signs of R's diagonal.
    Saxe et al. 2014.
    """

    def init(key: Key, shape: Shape, dtype: Any = jnp.float32) -> jax.Array:
        rows, columns = fans(shape)[0], shape[-1]
        long, short = max(rows, columns), min(rows, columns)
        q, r = jnp.linalg.qr(jax.random.normal(key, (long, short), jnp.float32))
        q = q * jnp.sign(jnp.diagonal(r))
        return (scale * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)

    return init


def fans(shape: Shape) -> tuple[int, int]:
    """(N_in, N_out) of a kernel [..., in, out]."""
    if len(shape) < 2:
        raise ValueError(
            f"an initializer by fan needs a kernel [..., in, out], got the shape {tuple(shape)}: "
            "use zeros, constant, normal or uniform"
        )
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _xavier(fan: str) -> Callable[[Shape], float]:
    if fan not in ("fan_avg", "fan_in"):
        raise ValueError(f'xavier: fan is {fan!r}, but "fan_avg" (Glorot) or "fan_in" is wanted')

    def std(shape: Shape) -> float:
        n_in, n_out = fans(shape)
        return math.sqrt(2 / (n_in + n_out) if fan == "fan_avg" else 1 / n_in)

    return std


def _normal(std: Callable[[Shape], float]) -> Initializer:
    def init(key: Key, shape: Shape, dtype: Any = jnp.float32) -> jax.Array:
        return _scaled(std(shape), _row(jax.random.normal, key, shape, dtype), tuple(shape))

    return init


def _uniform(std: Callable[[Shape], float]) -> Initializer:
    def init(key: Key, shape: Shape, dtype: Any = jnp.float32) -> jax.Array:
        bound = math.sqrt(3) * std(shape)
        row = 2 * _row(jax.random.uniform, key, shape, dtype) - 1
        return _scaled(bound, row, tuple(shape))

    return init


def _row(draw: Callable[..., jax.Array], key: Key, shape: Shape, dtype: Any) -> jax.Array:
    """draw(key, (n,), dtype) with n as large as the shape, or larger.

    To compile a generator takes up to 0.7 s on a CPU and is done for each size anew: for 60 shapes
    of GoogLeNet half a minute. So it runs for powers of two only.
    """
    n = math.prod(shape)
    return draw(key, (max(_SHORTEST, 1 << (n - 1).bit_length()),), dtype)


@functools.partial(jax.jit, static_argnums=2)
def _scaled(factor: float, row: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """factor times the first numbers of a row."""
    return factor * jax.lax.slice(row, (0,), (math.prod(shape),)).reshape(shape)


def _full(key: Key, shape: Shape, value: float, dtype: Any) -> jax.Array:
    """`value` everywhere; by NumPy, for which nothing is compiled, where nothing is traced."""
    full = np.full if is_concrete(key) else jnp.full
    return jax.device_put(full(shape, value, dtype))
