"""Sets of points in the plane, small enough to see what a network does with them.

Each function draws `n` points for each of the three splits, independently, as a pure function of
`seed`. In classification `noise` is the deviation of a normal added to both coordinates after the
label is known; in regression it is added to the target.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import numpy as np

from dlcore.data.dataset import SPLITS, Arrays, Dataset, check_count

# Draws n points [n, 2] and their labels [n] or targets [n].
Sample = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]

_BUMPS = np.array([(x, y) for y in (-0.4, 0.4) for x in (-0.6, 0.0, 0.6)])
_SIGNS = np.array([1, -1, 1, -1, 1, -1])


def xor(n: int = 400, noise: float = 0.05, seed: int = 0) -> Dataset:
    """Two classes: label 1 where the signs of the coordinates differ, x₁·x₂ < 0 in [−1, 1]²."""

    def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.uniform(-1, 1, (n, 2))
        return x, x[:, 0] * x[:, 1] < 0

    return _classification("xor", sample, n, noise, seed)


def circles(n: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Two classes: circles about the origin of radius 1 (label 0) and ½ (label 1)."""

    def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        label = np.arange(n) % 2
        return (1 - label[:, None] / 2) * _on_circle(rng.uniform(0, 2 * np.pi, n)), label

    return _classification("circles", sample, n, noise, seed)


def gaussians(n: int = 400, noise: float = 0.5, seed: int = 0) -> Dataset:
    """Two classes: normal clouds about (−1, −1) and (1, 1), of deviation `noise`."""

    def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        label = np.arange(n) % 2
        return np.stack([2 * label - 1] * 2, axis=1), label

    return _classification("gaussians", sample, n, noise, seed)


def spiral(n: int = 400, noise: float = 0.02, seed: int = 0) -> Dataset:
    """Two classes: arms of radius r in [0, 1] at the angle 3.5π·r, the second turned by π."""

    def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        label = np.arange(n) % 2
        radius = rng.uniform(0, 1, n)
        return radius[:, None] * _on_circle(3.5 * np.pi * radius + np.pi * label), label

    return _classification("spiral", sample, n, noise, seed)


def moons(n: int = 400, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Two classes: the half circle (cos t, sin t) and, facing it, (1 − cos t, ½ − sin t)."""

    def sample(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        label = np.arange(n) % 2
        point = _on_circle(rng.uniform(0, np.pi, n))
        return np.where(label[:, None] == 0, point, (1, 0.5) - point), label

    return _classification("moons", sample, n, noise, seed)


def plane(n: int = 400, noise: float = 0.0, seed: int = 0) -> Dataset:
    """Regression: y = (x₁ + x₂) / 2 on [−1, 1]²."""
    return _regression("plane", lambda x: x.mean(axis=1), n, noise, seed)


def bumps(n: int = 400, noise: float = 0.0, seed: int = 0) -> Dataset:
    """Regression: six bumps up and down, y = Σₖ ±exp(−‖x − cₖ‖² / (2·0.25²)) on [−1, 1]²."""

    def height(x: np.ndarray) -> np.ndarray:
        distance = ((x[:, None, :] - _BUMPS) ** 2).sum(axis=-1)
        return np.exp(-distance / (2 * 0.25**2)) @ _SIGNS

    return _regression("bumps", height, n, noise, seed)


def _on_circle(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _classification(name: str, sample: Sample, n: int, noise: float, seed: int) -> Dataset:
    def split(rng: np.random.Generator) -> Arrays:
        x, label = sample(rng, n)
        x = x + noise * rng.normal(size=x.shape)
        return {"x": x.astype(np.float32), "y": label.astype(np.int32)}

    return _dataset(name, split, n, noise, seed, classes=("0", "1"))


def _regression(
    name: str, height: Callable[[np.ndarray], np.ndarray], n: int, noise: float, seed: int
) -> Dataset:
    def split(rng: np.random.Generator) -> Arrays:
        x = rng.uniform(-1, 1, (n, 2))
        y = height(x)[:, None] + noise * rng.normal(size=(n, 1))
        return {"x": x.astype(np.float32), "y": y.astype(np.float32)}

    return _dataset(name, split, n, noise, seed, classes=())


def _dataset(
    name: str,
    split: Callable[[np.random.Generator], Arrays],
    n: int,
    noise: float,
    seed: int,
    classes: tuple[str, ...],
) -> Dataset:
    check_count("n", n, 2)
    check_count("seed", seed, 0)
    if not (isinstance(noise, Real) and 0 <= noise < np.inf):
        raise ValueError(f"noise={noise!r}: give a finite deviation of at least 0")
    splits = {key: split(np.random.default_rng((seed, i))) for i, key in enumerate(SPLITS)}
    description = f"{name}: drawn in the plane, {n} points a split, noise {noise:g}, seed {seed}."
    return Dataset(name, **splits, classes=classes, description=description)
