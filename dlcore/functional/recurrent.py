"""Recurrent networks: one step of each, and all steps of a sequence.

A step reads what it is given of the input, z = x · kernel + bias with a part for each gate, and
what the step before left, its carry. Over time z is [B, T, …], made for all steps at once as one
product; a step where mask [B, T] is False is none: the carry stays, and the output with it, so that
the last output of a padded row is that of its last real step.

    z = functional.linear(x, kernel) + bias                       # [B, T, 4 · H]
    hs, (h, c) = functional.lstm(z, recurrent_kernel, (h, c))     # [B, T, H]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.checks import floating, one_of
from dlcore.kernels import recurrent
from dlcore.kernels.recurrent import entering

Carry = tuple[jax.Array, jax.Array]

RESETS = {"after": recurrent.gru_after, "before": recurrent.gru_before}


# ------------------------------------------------------------------------------------- one step


def rnn_cell(
    z: jax.Array,
    kernel: jax.Array,
    h: jax.Array,
    *,
    activation: str = "tanh",
    keep: jax.Array | None = None,
) -> jax.Array:
    """h' = activation(z + h · kernel), for z and h [B, H], kernel [H, H].

    activation: "tanh" or "relu". Elman 1990.
    keep: what h is multiplied by, [B, H], where it enters a product, as in recurrent dropout.
    """
    function, _ = one_of("rnn", "activation", activation, recurrent.SLOPES)
    return function(z + entering(h, keep) @ kernel)


def lstm_cell(
    z: jax.Array,
    kernel: jax.Array,
    carry: Carry,
    *,
    peepholes: jax.Array | None = None,
    projection: jax.Array | None = None,
    keep: jax.Array | None = None,
) -> Carry:
    """(h', c') of (h, c), for z [B, 4 · H] with the gates i, f, g, o, and kernel [P, 4 · H].

    With a = z + h · kernel, and p the rows of peepholes [3, H] (none: 0):
    i = σ(aᵢ + pᵢ ∘ c), f = σ(a_f + p_f ∘ c), g = tanh(a_g), c' = f ∘ c + i ∘ g,
    o = σ(aₒ + pₒ ∘ c'), h' = o ∘ tanh(c') · projection, for projection [H, P] (none: h' as it is).

    Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000, the peepholes of Gers
    et al. 2002 and the projection of Sak et al. 2014. The gates stand in PyTorch's order; Keras and
    Flax have it too, ONNX i, o, f, g. keep is that of `rnn_cell`.
    """
    h, c = carry
    i, f, g, o = jnp.split(z + entering(h, keep) @ kernel, 4, axis=-1)
    if peepholes is not None:
        i, f = i + peepholes[0] * c, f + peepholes[1] * c
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    if peepholes is not None:
        o = o + peepholes[2] * c
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h if projection is None else h @ projection), c


def gru_cell(
    z: jax.Array,
    kernel: jax.Array,
    h: jax.Array,
    *,
    bias: jax.Array | None = None,
    reset: str = "after",
    keep: jax.Array | None = None,
) -> jax.Array:
    """h' = (1 − u) ∘ n + u ∘ h, for z [B, 3 · H] with the parts r, u, n, and kernel [H, 3 · H].

    r = σ(z_r + h · K_r), u = σ(z_u + h · K_u), and by the place of the reset gate
    "after" the product: n = tanh(z_n + r ∘ (h · K_n + bias)), as in PyTorch, Flax and Keras;
    "before" it: n = tanh(z_n + (r ∘ h) · K_n), as in Cho et al. 2014 and Haiku; it has no `bias`.

    The parts stand in PyTorch's order. Cho et al. 2014 write u for 1 − u. keep is that of
    `rnn_cell`; the h that is taken over, u ∘ h, is whole.
    """
    one_of("gru", "reset", reset, RESETS)
    z_r, z_u, z_n = jnp.split(z, 3, axis=-1)
    k_r, k_u, k_n = jnp.split(kernel, 3, axis=-1)
    own = entering(h, keep)
    r, u = jax.nn.sigmoid(z_r + own @ k_r), jax.nn.sigmoid(z_u + own @ k_u)
    if reset == "before":
        n = jnp.tanh(z_n + (r * own) @ k_n)
    else:
        n = jnp.tanh(z_n + r * (own @ k_n + (0.0 if bias is None else bias)))
    return (1 - u) * n + u * h


# ------------------------------------------------------------------------------------ all steps


def rnn(
    z: jax.Array,
    kernel: jax.Array,
    h: jax.Array,
    mask: jax.Array | None = None,
    *,
    reverse: bool = False,
    activation: str = "tanh",
    keep: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """(hs [B, T, H], h): `rnn_cell` at all steps of z [B, T, H], the last first with `reverse`.

    keep: that of `rnn_cell`, one for all steps. No gradient flows to it.
    """
    one_of("rnn", "activation", activation, recurrent.SLOPES)
    _check("rnn", z, kernel, 1, {"h": h}, mask, keep)
    return _over_time(recurrent.rnn, z, kernel, h, mask, keep, activation, reverse)


def lstm(
    z: jax.Array,
    kernel: jax.Array,
    carry: Carry,
    mask: jax.Array | None = None,
    *,
    reverse: bool = False,
    peepholes: jax.Array | None = None,
    projection: jax.Array | None = None,
    keep: jax.Array | None = None,
) -> tuple[jax.Array, Carry]:
    """(hs [B, T, P], (h, c)): `lstm_cell` at all steps of z [B, T, 4 · H]; else as `rnn`."""
    names = {"h": carry[0], "c": carry[1]}
    _check("lstm", z, kernel, 4, names, mask, keep, projection)
    if peepholes is None and projection is None:
        return _over_time(recurrent.lstm, z, kernel, carry, mask, keep, None, reverse)

    def step(z: jax.Array, carry: Carry) -> Carry:
        return lstm_cell(z, kernel, carry, peepholes=peepholes, projection=projection, keep=keep)

    return _step_by_step(step, z, carry, mask, reverse)


def gru(
    z: jax.Array,
    kernel: jax.Array,
    h: jax.Array,
    mask: jax.Array | None = None,
    *,
    reverse: bool = False,
    bias: jax.Array | None = None,
    reset: str = "after",
    keep: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """(hs [B, T, H], h): `gru_cell` at all steps of z [B, T, 3 · H]; else as `rnn`."""
    network = one_of("gru", "reset", reset, RESETS)
    units = _check("gru", z, kernel, 3, {"h": h}, mask, keep)
    if reset == "after":
        kernels = kernel, jnp.zeros(units, kernel.dtype) if bias is None else bias
    elif bias is None:
        kernels = kernel[:, : 2 * units], kernel[:, 2 * units :]
    else:
        raise ValueError('gru: bias is added to the product that reset="after" multiplies')
    return _over_time(network, z, kernels, h, mask, keep, None, reverse)


def _over_time(
    network: Callable[..., Any], z: Any, kernel: Any, carry: Any, mask: Any, keep: Any, *how: Any
) -> tuple[jax.Array, Any]:
    z, real = _by_time(z, mask)
    keep = None if keep is None else jax.lax.stop_gradient(keep)
    if z.shape[0] == 0:
        return _nothing(carry), carry
    hs, carry = network(z, kernel, carry, real, keep, *how)
    return jnp.swapaxes(hs, 0, 1), carry


def _step_by_step(
    step: Callable[[jax.Array, Carry], Carry], z: Any, carry: Carry, mask: Any, reverse: bool
) -> tuple[jax.Array, Carry]:
    """As they are written: differentiated by JAX."""

    def turn(carry: Carry, at: Any) -> tuple[Carry, jax.Array]:
        z, real = at
        new = step(z, carry)
        if real is not None:
            new = jax.tree.map(lambda one, two: jnp.where(real, one, two), new, carry)
        return new, new[0]

    carry, hs = jax.lax.scan(turn, carry, _by_time(z, mask), reverse=reverse)
    return jnp.swapaxes(hs, 0, 1), carry


def _by_time(z: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
    """z [T, B, …] and the mask [T, B, 1], where it is False z is 0: NaN under it stays there."""
    z = jnp.swapaxes(z, 0, 1)
    if mask is None:
        return z, None
    real = jnp.swapaxes(mask, 0, 1)[..., None]
    return jnp.where(real, z, 0.0), real


def _nothing(carry: Any) -> jax.Array:
    h = jax.tree.leaves(carry)[0]
    return jnp.zeros((len(h), 0, h.shape[-1]), h.dtype)


def _check(
    function: str,
    z: jax.Array,
    kernel: jax.Array,
    gates: int,
    carry: dict[str, jax.Array],
    mask: jax.Array | None,
    keep: jax.Array | None,
    projection: jax.Array | None = None,
) -> int:
    """Refuses shapes that do not fit each other; the number of units."""
    floating(function, "z", z)
    if z.ndim != 3 or z.shape[-1] % gates:
        raise ValueError(f"{function}: z is [B, T, {gates} · H], got {list(z.shape)}")
    units = z.shape[-1] // gates
    outputs = units if projection is None else projection.shape[-1]
    wanted: dict[str, Any] = {
        **dict.fromkeys(carry, (z.shape[0], units)),
        "h": (z.shape[0], outputs),
    }
    given = {**carry, "kernel": kernel}
    wanted["kernel"] = (outputs, gates * units)
    if mask is not None:
        given["mask"], wanted["mask"] = mask, z.shape[:2]
        if mask.dtype != bool:
            raise TypeError(
                f"{function}: mask is {mask.dtype}, but True (a real step) and False are wanted"
            )
    if keep is not None:
        given["keep"], wanted["keep"] = keep, (z.shape[0], outputs)
    for name, one in given.items():
        if one.shape != wanted[name]:
            raise ValueError(
                f"{function}: {name} is {list(one.shape)}, but {list(wanted[name])} fits z "
                f"{list(z.shape)}"
            )
    return units
