"""To import all of dlcore is cheap and silent: no heavy package, nothing computed or drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "matplotlib", "sklearn", "scipy.stats", "flax", "rich", "PIL", "pooch", "tqdm", "tyro", "torch",
    "pandas", "IPython", "tokenizers",
)  # fmt: skip
PARTS = (
    "analysis", "data", "derivatives", "flops", "functional", "generate", "interop", "keys",
    "models", "nn", "optim", "plot", "search", "train", "tree",
)  # fmt: skip


def run(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_heavy_package():
    loaded = run("import sys; from dlcore import *; print(*sys.modules)").split()
    assert "jax" in loaded
    assert not [name for name in loaded if name in HEAVY]


def test_a_room_is_imported_when_it_is_asked_for():
    before, after = run("""
import sys, dlcore
print(*(name for name in sys.modules if "dlcore." in name))
dlcore.optim
print(*(name for name in sys.modules if "dlcore." in name))
""").splitlines()
    assert before == "dlcore.fields dlcore.kinds dlcore.names"
    assert {"dlcore.optim", "dlcore.tree"} <= {*after.split()}
    assert "dlcore.data" not in after.split()


def test_nothing_is_computed():
    """On a platform that does not exist the first computation fails; the import reaches none."""
    program = "import jax; from dlcore import *; {}"
    run(program.format("pass"), JAX_PLATFORMS="nowhere")
    with pytest.raises(AssertionError, match="nowhere"):
        run(program.format("jax.numpy.zeros(1)"), JAX_PLATFORMS="nowhere")


def test_nothing_is_said():
    assert run("from dlcore import *") == ""


def test_random_states_are_untouched():
    run("""
import random
import jax, numpy as np, optax  # jax itself draws from Python's
before = random.getstate(), np.random.get_state()[1].tolist()
from dlcore import *
assert before == (random.getstate(), np.random.get_state()[1].tolist())
""")


@pytest.mark.parametrize("part", PARTS)
def test_parts_are_there(part):
    import dlcore

    assert getattr(dlcore, part).__name__ == f"dlcore.{part}"
    assert part in dlcore.__all__


def test_no_other_names():
    import dlcore

    assert set(dlcore.__all__) == set(PARTS)


@pytest.mark.parametrize(
    ("package", "name", "new"),
    [
        ("dlcore.train", "sweep", "dlcore.search"),
        ("dlcore.train", "cross_validate", "dlcore.search"),
        ("dlcore.functional", "landscapes", "dlcore.optim"),
        ("dlcore.functional", "backprop", "dlcore.derivatives"),
    ],
)
def test_an_old_name_tells_the_new_one(package, name, new):
    import importlib

    with pytest.raises(ImportError, match=rf"{package}.{name} is now {new}.{name}$"):
        getattr(importlib.import_module(package), name)
    assert hasattr(importlib.import_module(new), name)


def test_an_old_name_tells_the_new_one_in_an_import_too():
    with pytest.raises(ImportError, match=r"dlcore.train.find_rate is now dlcore.search.find_rate"):
        from dlcore.train import find_rate  # noqa: F401


def test_a_name_that_never_was_is_an_attribute_error():
    from dlcore import train

    assert not hasattr(train, "swep")


def test_version_is_that_of_the_package():
    from importlib.metadata import PackageNotFoundError, version

    import dlcore

    try:
        installed = version("dlcore")
    except PackageNotFoundError:
        pytest.skip("skipped, because dlcore runs from its folder here and is not installed")
    assert dlcore.__version__ == installed


def test_package_is_typed():
    from importlib.resources import files

    assert (files("dlcore") / "py.typed").is_file()


def test_every_room_is_named():
    """But for the kernels, which stand behind functions."""
    import dlcore

    folder = Path(dlcore.__file__).parent
    assert {path.parent.name for path in folder.glob("*/__init__.py")} - {"kernels"} <= {*PARTS}
