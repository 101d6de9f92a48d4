"""Strictness for the whole suite: dlcore must lean neither on promotion nor on reused keys."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before jax starts: figures need no screen, and two cores are enough for everyone.
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest

# Most of the suite's time is compiling. LLVM's expensive passes change no result beyond rounding.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture(autouse=True)
def torch_seed():
    """Torch draws its networks' weights from a global generator."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def x64():
    """Float64 for finite differences, in this test alone."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def standard_promotion():
    """Oracles (optax, flax) promote dtypes as JAX does by default."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout, where there is one."""
    root = Path(__file__).parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(
            f"skipped, because {root.name} with the real data sets is not beside the checkout"
        )
    return root
