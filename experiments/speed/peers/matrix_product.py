"""No peer but the yardstick: products of 2048×2048 matrices by JAX, in turn with the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.speed._networks import NETWORKS, Places

SIZE, PRODUCTS = 2048, 3
FLOPS = PRODUCTS * 2 * SIZE**3  # of a turn
MODELS = NETWORKS


def ready(folder: Path) -> jax.Array:
    """Keeps the size of what it multiplies, more or less."""
    return jax.random.normal(jax.random.key(0), (SIZE, SIZE)) / SIZE**0.5


def start(name: str, places: Places, matrix: jax.Array) -> tuple[int, Iterator[Any]]:
    """Some products a turn, each of the one before."""
    product = jax.jit(jnp.matmul)

    def turns() -> Iterator[list[jax.Array]]:
        while True:
            result = matrix
            for _ in range(PRODUCTS):
                result = product(result, matrix)
            yield [result[0, 0]]

    return 0, turns()
