"""Strictness for the whole suite: dlcore must lean neither on promotion nor on reused keys."""

from __future__ import annotations

import os
from pathlib import Path

# Before jax starts: figures need no screen, and two cores are enough for everyone.
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest
from hypothesis import settings

from tests.budget import Budget, examples

# Most of the suite's time is compiling. LLVM's expensive passes change no result beyond rounding.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_traceback_filtering", "off")  # those who mend dlcore need its frames

settings.register_profile("dlcore", examples(40))
settings.load_profile("dlcore")


def pytest_addoption(parser):
    parser.addoption("--costs", action="store_true", help="tell what the tests cost")


def pytest_configure(config):
    config.pluginmanager.register(Budget(), "budget")


def pytest_collection_modifyitems(items):
    """What compares with PyTorch can be chosen: `pytest -m torch`."""
    for item in items:
        if "torch" in getattr(item, "fixturenames", ()):
            item.add_marker("torch")


@pytest.fixture
def torch():
    """PyTorch, which draws its networks' weights from a global generator."""
    module = pytest.importorskip("torch", reason="skipped, because torch is not installed")
    module.manual_seed(0)
    return module


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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests share a process and what they compile; smoke forms go with their chapter's."""
    from xdist.scheduler import LoadFileScheduling

    from experiments import catalogue

    files = {
        f"test_smoke[{entry.name}]": f"tests/experiments/test_{entry.chapter}.py"
        for entry in catalogue.entries()
    }

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return files.get(nodeid.rpartition("::")[2], super()._split_scope(nodeid))

    return Scheduling(config, log)


@pytest.fixture
def blobs():
    """blobs(n, features, classes, seed): a batch of classes that are nearly apart."""
    from tests.problems import make_blobs

    return make_blobs


@pytest.fixture
def problem():
    """problem(layer, optimizer, seed): a step and a state that learn blobs."""
    from tests.problems import make_problem

    return make_problem


@pytest.fixture
def network():
    """network(features, classes): one with all that carries state or randomness."""
    from tests.problems import make_network

    return make_network
