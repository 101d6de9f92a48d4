"""The optimisation program: minimise f(x) subject to g(x) ≤ 0 and h(x) = 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.fields import documented
from dlcore.optim.minimization.directions import Flat
from dlcore.optim.minimization.loop import Method, Status, descend, first_entry, with_entry

ROUNDS = 50
PENALTY = 10.0  # ρ of the first round

Vector = Callable[[Any], jax.Array]  # of a tree


@documented
class Constraints(NamedTuple):
    """How the constraints stand at x.

    At a solution the gradient of f + λ·h + μ·g is 0 but for what points out of a box, and under
    g ≤ ε the least f is lower by μ·ε, to first order.

    violation: the largest of |h| and |max(g, −μ/ρ)|, which is 0 where h = 0, g ≤ 0 and μ·g = 0.
    equality: the multipliers λ, a vector.
    inequality: the multipliers μ ≥ 0, a vector.
    """

    violation: jax.Array
    equality: jax.Array
    inequality: jax.Array


@documented
class Rounds(NamedTuple):
    """What happened, for plots: arrays [51], entry k that after round k, entry 0 that of x₀.

    Entries past the last round are NaN, or 0 where they are integers.

    value: f.
    gradient_norm: of the augmented Lagrangian.
    violation: of the constraints.
    penalty: ρ of the round.
    record: a tree of what `minimize` was asked to record.
    """

    value: jax.Array
    gradient_norm: jax.Array
    violation: jax.Array
    penalty: jax.Array
    record: Any


@documented
class Program(NamedTuple):
    """Where the rounds are.

    x: a vector.
    value: f(x).
    gradient: that of the augmented Lagrangian, a vector.
    iterations: steps taken, in all rounds.
    status: why it ended, a `Status`.
    history: of the rounds.
    constraints: how they stand at x.
    penalty: ρ of the next round.
    round: how many there have been.
    """

    x: jax.Array
    value: jax.Array
    gradient: jax.Array
    iterations: jax.Array
    status: jax.Array
    history: Rounds
    constraints: Constraints
    penalty: jax.Array
    round: jax.Array


def solve(f: Flat, x: jax.Array, equality: Vector, inequality: Vector, method: Method) -> Program:
    """The augmented Lagrangian: minimised over x, then asked for its multipliers, round by round.

    With m = (λ, μ) and s = (h, max(g, −μ/ρ)) it is L = f + m·s + ½ρs·s, and then m ← m + ρs, which
    keeps μ ≥ 0; ρ grows tenfold where s did not shrink to a quarter. An inequality that holds by
    more than μ/ρ adds a constant alone. ∇L at the old m is ∇f + m·∇(h, g) at the new one.
    """
    largest = 1 / float(jnp.finfo(x.dtype).eps) ** 0.5
    inner_method = method._replace(record=lambda x: ())

    def unmet(tree: Any, inequality_multipliers: jax.Array, penalty: jax.Array) -> jax.Array:
        slack = -inequality_multipliers / penalty
        return jnp.concatenate([equality(tree), jnp.maximum(inequality(tree), slack)])

    def start() -> Program:
        tree, zero, nan = f.unravel(x), jnp.zeros((), jnp.int32), jnp.asarray(jnp.nan, x.dtype)
        multipliers = (jnp.zeros_like(equality(tree)), jnp.zeros_like(inequality(tree)))
        penalty = jnp.asarray(PENALTY, x.dtype)
        violation = jnp.max(jnp.abs(unmet(tree, multipliers[1], penalty)))
        entry = Rounds(f(x), nan, violation, penalty, method.record(x))
        return Program(
            x=x,
            value=f(x),
            gradient=jnp.full_like(x, jnp.nan),
            iterations=zero,
            status=zero + Status.INFEASIBLE,
            history=first_entry(entry, ROUNDS + 1),
            constraints=Constraints(jnp.full_like(violation, jnp.inf), *multipliers),
            penalty=penalty,
            round=zero,
        )

    def going(p: Program) -> jax.Array:
        return (p.status != Status.CONVERGED) & (p.round < ROUNDS)

    def step(p: Program) -> Program:
        old = p.constraints
        multipliers = jnp.concatenate([old.equality, old.inequality])

        def lagrangian(tree: Any) -> jax.Array:
            s = unmet(tree, old.inequality, p.penalty)
            value = jnp.asarray(f.function(tree), s.dtype)
            return value + jnp.vdot(multipliers + p.penalty / 2 * s, s)

        inner = descend(Flat(lagrangian, f.unravel, f.args), p.x, inner_method)
        # While the penalty is too small f may fall for ever: such a round is taken back.
        lost = inner.status == Status.NOT_FINITE
        x = jnp.where(lost, p.x, inner.x)
        s = unmet(f.unravel(x), old.inequality, p.penalty)
        violation = jnp.max(jnp.abs(s))
        met = violation <= method.tolerance
        raised = lost | ((violation > old.violation / 4) & ~met)
        multipliers = jnp.where(lost, multipliers, multipliers + p.penalty * s)
        norm = inner.history.gradient_norm[inner.iterations]
        entry = Rounds(f(x), norm, violation, p.penalty, method.record(x))
        went_on = (inner.status == Status.CONVERGED) | (inner.status == Status.NO_STEP)
        return Program(
            x=x,
            value=entry.value,
            gradient=inner.gradient,
            iterations=p.iterations + inner.iterations,
            status=jnp.where(went_on & ~met, int(Status.INFEASIBLE), inner.status),
            history=with_entry(p.history, p.round + 1, entry),
            constraints=Constraints(violation, *jnp.split(multipliers, [old.equality.size])),
            penalty=jnp.where(raised, jnp.minimum(10 * p.penalty, largest), p.penalty),
            round=p.round + 1,
        )

    return lax.while_loop(going, step, start())
