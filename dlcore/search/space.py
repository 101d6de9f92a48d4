"""Configurations to try: lists of dicts, by name of the hyperparameter.

space.grid(learning_rate=[0.01, 0.1, 1.0], width=[16, 64], seed=range(3))
space.random(50, learning_rate=space.log_uniform(1e-4, 1), depth=space.choice(1, 2, 3))
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from dlcore import keys

Configuration = dict[str, Any]
Distribution = Callable[[np.random.Generator], Any]


def grid(**values: Iterable[Any]) -> list[Configuration]:
    """Every combination of the values, the last name varying fastest.

    >>> grid(width=[16, 64], seed=range(2))[:3]
    [{'width': 16, 'seed': 0}, {'width': 16, 'seed': 1}, {'width': 64, 'seed': 0}]
    """
    lists = {name: [_plain(value) for value in some] for name, some in values.items()}
    for name, some in lists.items():
        if not some:
            raise ValueError(f"grid: {name} has no values, but at least one is wanted")
    return [dict(zip(lists, point, strict=True)) for point in itertools.product(*lists.values())]


def random(n: int, seed: int = 0, /, **distributions: Distribution) -> list[Configuration]:
    """`n` configurations, each value drawn from its distribution, as a function of (seed, name).

    So one more hyperparameter changes none of the others, and a longer list begins with a shorter.
    Where few hyperparameters matter, it tries more values of them than a grid of as many runs
    (Bergstra and Bengio 2012).
    """
    if n < 1:
        raise ValueError(f"random: n is {n}, but at least 1 configuration is wanted")
    drawn = {}
    for name, draw in distributions.items():
        if not callable(draw):
            raise TypeError(
                f"random: {name} is {draw!r}, but a distribution is wanted: "
                f"{name}=space.choice({draw!r})"
            )
        rng = np.random.default_rng((seed, keys.tag(name)))
        drawn[name] = [_plain(draw(rng)) for _ in range(n)]
    return [{name: values[i] for name, values in drawn.items()} for i in range(n)]


def uniform(low: float, high: float) -> Distribution:
    """x ~ U(low, high)."""
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"uniform: the range is {low} … {high}, but low < high is wanted")
    return lambda rng: rng.uniform(low, high)


def log_uniform(low: float, high: float) -> Distribution:
    """log x ~ U(log low, log high): every decade alike, as for a learning rate."""
    if not 0 < low < high < math.inf:
        raise ValueError(f"log_uniform: the range is {low} … {high}, but 0 < low < high is wanted")
    return lambda rng: math.exp(rng.uniform(math.log(low), math.log(high)))


def choice(*values: Any) -> Distribution:
    """One of the values, each as probable."""
    if not values:
        raise ValueError("choice: there are no values, but at least one is wanted")
    return lambda rng: values[rng.integers(len(values))]


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    return value.item() if isinstance(value, np.generic) else value
