"""An average that forgets spans 1/(1 − β) values, starts too low, and is what momentum is made of.

v ← βv + (1 − β)θ over a season with noise: the share of v that its last 1/(1 − β) values make up,
and how low v is at the start, where v₀ = 0. Then the three momenta on one ravine, and momentum
whose γ rises from 0.5 to 0.99.

Lecture A (v_t averages about 1/(1 − β) values; bias correction), and the momenta of A, C and E;
Sutskever et al. 2013 for the rising γ. "Apart" is the largest distance over the largest |w|.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore import optim
from dlcore.optim import landscapes
from experiments.choice import at_least
from experiments.frame import BaseConfig, Claim, Figure, Result, Table

BETAS = (0.9, 0.98)
CLAIMS = (
    *(
        Claim(
            f"share of the last 1/(1 − {beta}) values", f"{1 - np.exp(-1):.6f} ± 0.02", "lecture A"
        )
        for beta in BETAS
    ),
    Claim("vₜ/v̂ₜ − (1 − βᵗ), with v̂ the corrected average, largest", "≤ 1e-5", "lecture A"),
    Claim("A at the rate η/(1 − γ), C at η: apart", "≤ 1e-4", "lectures A, C"),
    Claim("E and C at a constant rate: apart", "≤ 1e-4", "lectures C, E"),
    Claim("E and C when the rate drops tenfold: apart", "> 0.01", "lectures C, E"),
    Claim("f after γ of 0.5 / after γ from 0.5 to 0.99", "> 1", "lecture E"),
    Claim("highest early f: γ of 0.99 / γ from 0.5 to 0.99", "> 1", "lecture E"),
)
RATE, GAMMA = 0.002, 0.9
RAVINE = landscapes.ravine(1000.0)


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """How long the series and the ways are."""

    days: int = 365
    """Values that are averaged."""
    updates: int = 2000
    """Of each momentum."""

    def __post_init__(self) -> None:
        at_least(60, days=self.days)
        at_least(200, updates=self.updates)


SMOKE = Config(updates=1000)


class Measured(NamedTuple):
    """The averages by β, how far the momenta are apart, and f on the way by γ."""

    series: list[float]
    plain: dict[str, list[float]]
    corrected: dict[str, list[float]]
    shares: dict[str, float]
    bias_error: float
    apart: dict[str, float]
    annealing: dict[str, list[float]]


def run(config: Config) -> Measured:
    """Averages the series, and walks."""
    days = np.arange(config.days)
    noise = np.random.default_rng(0).normal(0, 3, config.days)
    series = (15 + 8 * np.sin(2 * np.pi * (days / 365 - 0.25)) + noise).astype(np.float32)
    plain = {str(beta): averaged(beta, series) for beta in BETAS}
    corrected = {str(beta): averaged(beta, series, corrected=True) for beta in BETAS}
    t = 1 + days
    errors = [plain[str(b)] / corrected[str(b)] - (1 - b**t) for b in BETAS]
    return Measured(
        series=series.tolist(),
        plain={beta: v.tolist() for beta, v in plain.items()},
        corrected={beta: v.tolist() for beta, v in corrected.items()},
        shares={str(beta): share(beta) for beta in BETAS},
        bias_error=float(np.abs(errors).max()),
        apart=momenta(),
        annealing=annealing(config),
    )


def figures(result: Result[Measured]) -> list[float]:
    """What is said of averages and momenta."""
    found = result.measured
    low, high, rising = found.annealing.values()
    early = slice(20, len(rising) // 4)
    return [
        *found.shares.values(),
        found.bias_error,
        *found.apart.values(),
        low[-1] / rising[-1],
        max(high[early]) / max(rising[early]),
    ]


def table(result: Result[Measured]) -> Table:
    """What is apart, and what γ brings."""
    yield "measured", "value"
    for beta, share in result.measured.shares.items():
        yield f"share of the last 1/(1 − {beta}) values", f"{share:.3f}"
    for names, distance in result.measured.apart.items():
        yield f"apart: {names}", f"{distance:.2g}"
    for gamma, values in result.measured.annealing.items():
        yield f"f in the end, γ = {gamma}", f"{values[-1]:.3g}"


def plot(result: Result[Measured]) -> Figure:
    """The series with its averages; f by γ."""
    from dlcore import plot

    found = result.measured
    days = list(range(1, len(found.series) + 1))
    lines: dict[str, Any] = {"a day": (days, found.series)}
    for beta in map(str, BETAS):
        lines[f"β = {beta}"] = (days, found.plain[beta])
        lines[f"β = {beta}, corrected"] = (days, found.corrected[beta])
    start = {name: (xs[:60], ys[:60]) for name, (xs, ys) in lines.items()}
    gammas = {
        f"γ = {gamma}": (range(len(values)), values) for gamma, values in found.annealing.items()
    }
    return plot.lines(
        plot.Panel("A season and its averages", "day", "temperature", lines),
        plot.Panel("The start: v₀ = 0 pulls down", "day", "temperature", start),
        plot.Panel("Momentum in a ravine, κ = 1000", "updates", "f", gammas, log="y"),
    )


def averaged(beta: float, values: np.ndarray, corrected: bool = False) -> np.ndarray:
    """The average after each value: momentum's velocity, or the corrected average of weights."""
    velocity = optim.momentum(1.0, beta, form="average")
    average = optim.ema_of_weights(beta)

    def step(carry: Any, value: jax.Array) -> Any:
        state, weight = carry
        if corrected:
            _, state = average.update(value - weight, state, weight)
            return (state, value), optim.averaged(state, weight)
        update, state = velocity.update(value, state)
        return (state, weight), -update

    zero = jnp.zeros(())
    start = (average if corrected else velocity).init(zero)
    return np.asarray(jax.lax.scan(step, (start, zero), jnp.asarray(values))[1])


def share(beta: float) -> float:
    """The part of the average that its last 1/(1 − β) values make up: what ones give after 0."""
    last = round(1 / (1 - beta))
    return float(averaged(beta, np.ones(last, np.float32))[-1])


def momenta() -> dict[str, float]:
    """How far the three forms are apart over 300 updates."""
    dropping = optim.piecewise_constant(RATE, {100: 0.1})

    def way(rate: optax.ScalarOrSchedule, form: str) -> np.ndarray:
        optimizer = optim.momentum(rate, GAMMA, form=form)
        x0 = jnp.asarray([1.0, 1.0])
        return np.asarray(optim.path(landscapes.ravine(100.0).f, x0, optimizer, 300).record)

    def apart(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.linalg.norm(one - other, axis=1).max() / np.abs(one).max())

    c, falling = way(RATE, "polyak"), way(dropping, "polyak")
    return {
        "A(η/(1 − γ)), C(η)": apart(c, way(RATE / (1 - GAMMA), "average")),
        "E, C, constant rate": apart(c, way(RATE, "classical")),
        "E, C, rate ÷ 10 after 100": apart(falling, way(dropping, "classical")),
    }


def annealing(config: Config) -> dict[str, list[float]]:
    """f on the way with a γ that rises, and with its ends, at the rate 1/λmax."""
    rising = optim.annealed_momentum(max(1, config.updates // 50))
    gammas: dict[str, Any] = {"0.5": 0.5, "0.99": 0.99, "0.5 … 0.99": rising}
    x0 = jnp.asarray([1.0, 1.0])
    return {
        name: optim.path(RAVINE.f, x0, optim.momentum(1e-3, gamma), config.updates).value.tolist()
        for name, gamma in gammas.items()
    }
