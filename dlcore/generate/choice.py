"""Which of the tokens that may come next does: what is left of the logits, and the draw."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.checks import floating, is_concrete
from dlcore.fields import documented
from dlcore.names import arguments
from dlcore.nn.describing import describe

COLDEST = 1e-9  # a temperature that float32 divides by


@documented
class Rules(NamedTuple):
    """How a token is chosen; None leaves a rule out.

    temperature, top_k, top_p, min_p: see `filtered`; a temperature of 0, or below COLDEST, takes
        the most probable.
    repetition_penalty: above 1 makes what was there already less likely.
    """

    temperature: Any = 1.0
    top_k: Any = None
    top_p: Any = None
    min_p: Any = None
    repetition_penalty: Any = None


@arguments()
def filtered(
    logits: jax.Array,
    *,
    temperature: float | jax.Array = 1.0,
    top_k: int | jax.Array | None = None,
    top_p: float | jax.Array | None = None,
    min_p: float | jax.Array | None = None,
) -> jax.Array:
    """logits / temperature [..., V], with −∞ for what must not be chosen.

    top_k: only the k most probable tokens are left (Fan et al. 2018).
    top_p: the fewest most probable ones that have a probability of p together; the first always
        (Holtzman et al. 2020).
    min_p: those at least min_p times as probable as the most probable one (Nguyen et al. 2024).

    Each rule looks at the probabilities at this temperature, of all tokens; as equal ones are all
    left or none, top_k may leave more than k.
    """
    check("filtered", Rules(temperature, top_k, top_p, min_p), coldest=COLDEST)
    logits = floating("filtered", "logits", logits).astype(jnp.float32) / temperature
    lowest = jnp.full(logits.shape[:-1], -jnp.inf)
    if top_k is not None or top_p is not None:
        falling = -jnp.sort(-logits, axis=-1)
    if top_k is not None:
        k = jnp.clip(jnp.asarray(top_k), 1, logits.shape[-1])
        lowest = jnp.maximum(lowest, jnp.take(falling, k - 1, axis=-1))
    if top_p is not None:
        before = jnp.cumsum(jax.nn.softmax(falling), axis=-1) - jax.nn.softmax(falling)
        is_in = (before < top_p) | (jnp.asarray(top_p) >= 1)  # where `before` may round to 1
        left = jnp.where(is_in, falling, jnp.inf).at[..., 0].set(falling[..., 0])
        lowest = jnp.maximum(lowest, jnp.min(left, axis=-1))
    if min_p is not None:
        lowest = jnp.maximum(lowest, jnp.max(logits, axis=-1) + jnp.log(min_p))
    return jnp.where(logits >= lowest[..., None], logits, -jnp.inf)


def penalized(logits: jax.Array, seen: jax.Array, penalty: Any) -> jax.Array:
    """Logits [B, V] of what was `seen`, divided by the penalty where positive, else times it.

    Keskar et al. 2019, section 4.1, with the sign that their formula leaves out.
    """
    return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def chosen(key: jax.Array, logits: jax.Array, rules: Rules) -> tuple[jax.Array, jax.Array]:
    """A token [B] of logits [B, V], and the log of its probability among those that are left.

    A temperature below COLDEST takes the most probable one, the first of equal ones.
    """
    cold = rules.temperature < COLDEST
    warm = jnp.where(cold, 1.0, rules.temperature)
    left = filtered(
        logits, temperature=warm, top_k=rules.top_k, top_p=rules.top_p, min_p=rules.min_p
    )
    drawn = jax.random.categorical(key, left)
    token = jnp.where(cold, jnp.argmax(left, axis=-1), drawn).astype(jnp.int32)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(left), token[:, None], axis=-1)[:, 0]
    return token, log_p


def check(function: str, rules: Rules, *, coldest: float = 0.0) -> None:
    """Refuses what is out of range; what is traced passes."""
    wanted = f"{coldest} or more" if coldest else "≥ 0 (0 takes the most probable token)"
    ranges = {
        "temperature": (coldest, float("inf"), wanted),
        "top_k": (1, float("inf"), "≥ 1"),
        "top_p": (1e-9, 1, "in (0, 1]"),
        "min_p": (1e-9, 1, "in (0, 1]"),
        "repetition_penalty": (1e-9, float("inf"), "above 0 (1 is none)"),
    }
    for name, (low, high, wanted) in ranges.items():
        value = getattr(rules, name)
        if value is None or not is_concrete(value):
            continue
        if np.ndim(value):
            raise ValueError(f"{function}: {name} is {describe(value)}, but one number is wanted")
        if not low <= value <= high:
            raise ValueError(f"{function}: {name} is {value}, but {wanted} is wanted")
