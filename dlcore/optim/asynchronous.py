"""Asynchronous descent, simulated: gradients of parameters that others have moved since.

Each run is exact: the same arrivals, batches and keys give the same bits, whatever the machine
does meanwhile.

    came = optim.arrivals(seconds, updates)
    optimizer = optim.delayed(optim.sgd(0.1), came.staleness)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.fields import documented
from dlcore.names import arguments, written
from dlcore.optim._checks import (
    Scalar,
    check_leaves,
    check_numbers,
    check_params,
    check_whole,
)
from dlcore.optim._parts import zero_count

Staleness = int | np.ndarray


@documented
class Delayed(NamedTuple):
    """What the server remembers.

    count: updates done.
    staleness: of each update, [T], over again after the last.
    history: the parameters before each of the last updates, [1 + longest, …].
    inner: the state of its own optimizer.
    """

    count: jax.Array  # type: ignore[assignment]
    staleness: jax.Array
    history: Any
    inner: Any


@arguments()
def delayed(
    optimizer: optax.GradientTransformation, staleness: Staleness, longest: int | None = None
) -> optax.GradientTransformationExtraArgs:
    """`optimizer` at a parameter server, whose workers are late: gₜ = ∇Lₜ(w of τₜ updates ago).

    A worker reads w, computes the gradient of its batch, and when it arrives the server has made
    τ updates with those of others. The first ones read the start. `update` takes the extra argument
    `grad_fn`, the gradient of this batch's loss as a function of the parameters, which
    `train.make_step` passes; the metrics stay those of the server's parameters. With τ = 0 the
    updates are those of `optimizer` to the bit.

    Args:
        optimizer: any transformation.
        staleness: τ, the same for every update, or that of each [T], over again after the last:
            measured (`arrivals`), or drawn.
        longest: the largest τ that there is room for, by default that of `staleness`; 1 + longest
            copies of the parameters are kept. The staleness is in the state: runs of equal T and
            longest share one compiled step.

    Raises:
        TypeError, ValueError: for a staleness that is no whole number, negative or more than
            longest; from `init` as `sgd`; from `update` without `grad_fn` or the parameters.

    Dean et al. 2012, section 4.1 (Downpour SGD), with n_fetch = n_push = 1 and one server.
    """
    trace = _staleness("delayed", staleness)
    places = 1 + int(trace.max() if longest is None else longest)
    if trace.max() >= places:
        raise ValueError(
            f"delayed: staleness is up to {trace.max()}, but longest={longest} at most is wanted"
        )
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> Delayed:
        check_leaves(params)
        history = jax.tree.map(lambda p: jnp.broadcast_to(p, (places, *jnp.shape(p))), params)
        return Delayed(zero_count(), jnp.asarray(trace), history, inner.init(params))

    def update(
        grads: Any,
        state: Any,
        params: Any = None,
        *,
        grad_fn: Callable[[Any], Any] | None = None,
        **extra: Any,
    ) -> tuple[Any, Any]:
        check_params("delayed", params)
        if grad_fn is None:
            raise ValueError(
                "delayed needs the gradient as a function of the parameters: "
                "update(grads, opt_state, params, grad_fn=jax.grad(loss))"
            )
        count, late = state.count, state.staleness[state.count % len(state.staleness)]
        history = jax.tree.map(lambda h, p: h.at[count % places].set(p), state.history, params)
        # A place not written yet holds the start.
        read = jax.tree.map(lambda h: h[(count - late) % places], history)
        extra["grad"] = grad_fn(read)
        updates, new = inner.update(extra["grad"], state.inner, params, **extra)
        return updates, Delayed(optax.safe_increment(count), state.staleness, history, new)

    return optax.GradientTransformationExtraArgs(init, update)


@documented
class Arrivals(NamedTuple):
    """T updates, in the order in which they came.

    seconds: when each came, float64 [T].
    worker: from whom, int32 [T].
    staleness: how many came since that one read, int32 [T].
    """

    seconds: np.ndarray
    worker: np.ndarray
    staleness: np.ndarray


@arguments()
def arrivals(seconds: np.ndarray, updates: int) -> Arrivals:
    """Who finishes when, for W workers who read, compute a gradient, deliver it, and read again.

    seconds: [W, n] > 0, how long each worker takes for one gradient after another, measured or
        drawn, over again after the n-th. The server takes no time. Of two who finish together the
        first worker is first.

    For equal workers τ is W − 1 from the second round on, and T updates take 1/W of the time.

    >>> arrivals(np.array([[1.0], [2.5]]), 4)
    Arrivals(seconds=array([1. , 2. , 2.5, 3. ]), worker=array([0, 0, 1, 0], dtype=int32), \
staleness=array([0, 0, 2, 1], dtype=int32))
    """
    check_whole(updates=updates)
    seconds = np.asarray(seconds, np.float64)
    if seconds.ndim != 2 or not seconds.size or not np.all((seconds > 0) & (seconds < np.inf)):
        raise ValueError(
            f"arrivals: seconds is {list(seconds.shape)}, but [workers, gradients] of finite "
            "numbers above 0 is wanted"
        )
    workers, given = seconds.shape
    finish = seconds[:, 0].copy()
    read, made = np.zeros(workers, np.int32), np.ones(workers, np.int64)
    came = Arrivals(np.empty(updates), *np.empty((2, updates), np.int32))
    for t in range(updates):
        w = int(np.argmin(finish))
        came.seconds[t], came.worker[t], came.staleness[t] = finish[w], w, t - read[w]
        read[w] = t + 1
        finish[w] += seconds[w, made[w] % given]
        made[w] += 1
    return came


@documented
class Hogwild(NamedTuple):
    """What processors that never lock have made of the parameters they share.

    x: the parameters at the end.
    conflicts: whether a coordinate that an update read was written by another one before it
        arrived, bool [T].
    """

    x: jax.Array
    conflicts: jax.Array


@arguments()
def hogwild(
    loss: Callable[[jax.Array, Any], jax.Array],
    x: jax.Array,
    index: jax.Array,
    rows: Any,
    learning_rate: Scalar,
    staleness: Staleness = 0,
) -> Hogwild:
    """Σₜ loss(x[indexₜ], rowₜ), descended by processors that share x and never lock it.

    x[e] ← x[e] − η ∇loss(x̂[e], rowₜ), where e = indexₜ are the few coordinates that row t sees, and
    x̂ is x as it was τₜ updates ago. Where few rows share coordinates (sparse x), the others wrote
    elsewhere meanwhile: x̂[e] = x[e]. An update costs O(k²τ), whatever the length of x: x̂[e] is
    x[e] less what the last τ updates did there.

    Args:
        loss: loss(values [k, …], row) -> scalar.
        x: [D, …], any number of values a coordinate.
        index: int [T, k], in the order of the updates; D in the place of a missing one.
        rows: a tree of arrays with the leading axis T.
        learning_rate: η ≥ 0.
        staleness: τ, or that of each update [T]; see `arrivals`.

    Raises:
        TypeError, ValueError: as `sgd` and `delayed`.

    Niu et al. 2011, section 4, with every coordinate of a row written rather than one drawn of
    them. Additions are atomic there too.

    >>> shared = hogwild(lambda v, y: (v[0] - y) ** 2, jnp.zeros(3), [[1], [1]], jnp.ones(2), 0.5)
    >>> shared.x
    Array([0., 1., 0.], dtype=float32)
    """
    check_numbers(learning_rate=learning_rate)
    trace = _staleness("hogwild", staleness)
    index = jnp.asarray(index, jnp.int32)
    if index.ndim != 2 or len(trace) not in (1, len(index)):
        raise ValueError(
            f"hogwild: index is {list(index.shape)} and staleness {list(trace.shape)}, but [T, k] "
            "and one number or [T] are wanted"
        )
    late = jnp.asarray(np.broadcast_to(trace, len(index)))
    return _hogwild(loss, int(trace.max()), jnp.asarray(x), index, rows, late, learning_rate)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _hogwild(
    loss: Any, longest: int, x: Any, index: Any, rows: Any, late: Any, learning_rate: Any
) -> Hogwild:
    size, k = len(x), index.shape[1]

    def one(carry: Any, now: Any) -> Any:
        x, written, moves = (
            carry  # the last updates, the newest first: [longest, k], [longest, k, …]
        )
        e, row, tau = now
        since = (jnp.arange(longest) < tau)[:, None] & (written < size)
        met = since & (written == e[:, None, None])  # [k, longest, k]
        here = x.at[e].get(mode="fill", fill_value=0)
        stale = here - jnp.tensordot(met.astype(x.dtype), moves, 2)
        move = -jnp.asarray(learning_rate, x.dtype) * jax.grad(loss)(stale, row)
        x = x.at[e].add(move, mode="drop")
        written, moves = (
            jnp.concatenate([new[None], old])[:longest]
            for new, old in ((e, written), (move, moves))
        )
        return (x, written, moves), met.any()

    nothing = jnp.full((longest, k), size), jnp.zeros((longest, k, *x.shape[1:]), x.dtype)
    start: Any = (x, *nothing)
    end, conflicts = jax.lax.scan(one, start, (index, rows, late))
    return Hogwild(end[0], conflicts)


def _staleness(what: str, staleness: Staleness) -> np.ndarray:
    """The staleness as an array [T], or [1]."""
    trace = np.atleast_1d(np.asarray(staleness))
    if not np.issubdtype(trace.dtype, np.integer):
        raise TypeError(f"{what}: staleness must be of whole numbers, got {written(staleness)}")
    if trace.ndim != 1 or not trace.size or not 0 <= trace.min() <= trace.max() < 2**31:
        raise ValueError(
            f"{what}: staleness is {written(staleness)}, but a number ≥ 0 or one for each update "
            "is wanted"
        )
    return trace.astype(np.int32)
