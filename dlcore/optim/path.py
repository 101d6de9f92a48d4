"""The way an optimizer takes over a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from dlcore.fields import documented
from dlcore.keys import Key
from dlcore.names import arguments
from dlcore.optim._checks import check_whole


@documented
class Path(NamedTuple):
    """Where `path` went. Entry k of value and record is that of xₖ, k = 0 … steps.

    x: the last.
    value: f(xₖ), [steps + 1]; with a key, as the k-th draw has it.
    record: a tree of what was asked for, by default the xₖ themselves.
    """

    x: Any
    value: jax.Array
    record: Any


@arguments()
def path(
    f: Callable[..., jax.Array],
    x0: Any,
    optimizer: optax.GradientTransformation,
    steps: int,
    *,
    key: Key | None = None,
    record: Callable[[Any], Any] = lambda x: x,
) -> Path:
    """`steps` updates of x by `optimizer` from x₀, with g = ∇f(x), in one scan.

    Pure: `jax.vmap` over x₀, over a learning rate that is an argument, or over keys follows many at
    once. `minimize` is for an end; this is for the way.

    Args:
        f: from a tree like x₀ to one number.
        x0: a tree of floating-point arrays.
        optimizer: any optax transformation.
        steps: at least 1.
        key: with it f is stochastic: f(x, key) gets a key of its own at each xₖ.
        record: a function of x whose results are kept.

    Raises:
        TypeError, ValueError: for steps that are no whole number of at least 1, and as the
            optimizer's `init`.

    >>> from dlcore.optim import sgd
    >>> path(lambda x: x**2, jnp.asarray(1.0), sgd(0.25), 3).record
    Array([1.   , 0.5  , 0.25 , 0.125], dtype=float32)
    """
    check_whole(steps=steps)
    optimizer = optax.with_extra_args_support(optimizer)

    def at(count: jax.Array) -> tuple[jax.Array, ...]:
        return () if key is None else (jax.random.fold_in(key, count),)

    def step(carry: tuple[Any, Any], count: jax.Array) -> tuple[tuple[Any, Any], Any]:
        x, state = carry
        value, g = jax.value_and_grad(f)(x, *at(count))
        updates, state = optimizer.update(g, state, x, value=value)
        return (optax.apply_updates(x, updates), state), (value, record(x))

    start = jax.tree.map(jnp.asarray, x0)
    (x, _), entries = lax.scan(step, (start, optimizer.init(start)), jnp.arange(steps))
    last = (f(x, *at(jnp.asarray(steps))), record(x))
    value, records = jax.tree.map(
        lambda rows, row: jnp.concatenate([rows, jnp.asarray(row)[None]]), entries, last
    )
    return Path(x, value, records)
