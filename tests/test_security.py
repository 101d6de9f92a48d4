"""No file runs code that lies in data, and no file uses a global random state.

Every module of dlcore and experiments is read, and every code cell of the notebooks.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Packages that run what a file says when they read it, and Python's global random state.
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "random"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {"os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
# numpy's generators that carry their own state; everything else in numpy.random is global.
GENERATORS = {"default_rng", "Generator", "SeedSequence", "PCG64", "PCG64DXSM", "Philox", "SFC64"}
# A keyword that has to be given, with this value.
REQUIRED = {"torch.load": ("weights_only", True), "extractall": ("filter", "data")}
# A keyword that must not be given, but with this value.
REFUSED = {"allow_pickle": False, "shell": False}


def sources() -> dict[str, str]:
    paths = [*(ROOT / "dlcore").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in paths}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        texts |= {f"{path.relative_to(ROOT)}[{i}]": text for i, text in enumerate(code)}
    return texts


def offences(source: str) -> Iterator[str]:
    """What is forbidden in `source`, as it is written there with full names."""
    tree = ast.parse(source)
    aliases = dict(_aliases(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _root(alias.name) in MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if _root(name) in MODULES or _is_global(name))
        elif isinstance(node, ast.Attribute) and _is_global(_name(node, aliases)):
            yield _name(node, aliases)
        elif isinstance(node, ast.Call):
            yield from _bad_call(_name(node.func, aliases), node)


def _bad_call(name: str, call: ast.Call) -> Iterator[str]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in BUILTINS | CALLS:
        yield name
    for function, (keyword, value) in REQUIRED.items():
        called = name == function or name.endswith("." + function)
        if called and not _is(given.get(keyword), value):
            yield f"{function} without {keyword}={value!r}"
    for keyword, value in REFUSED.items():
        if keyword in given and not _is(given[keyword], value):
            yield keyword


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


def _is_global(name: str) -> bool:
    return name.startswith("numpy.random.") and name.split(".")[2] not in GENERATORS


def _root(name: str) -> str:
    return name.split(".")[0]


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names in this file and what they stand for: np is numpy, load is torch.load."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _name(node: ast.expr, aliases: dict[str, str]) -> str:
    """The dotted name of an expression; of a call's result only what follows it."""
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value, aliases)}.{node.attr}"
    return aliases.get(node.id, node.id) if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize(
    ("source", "offence"),
    [
        ("import pickle", "pickle"),
        ("from pickle import loads", "pickle.loads"),
        ("def f():\n    import joblib", "joblib"),
        ("import random", "random"),
        ("from random import shuffle", "random.shuffle"),
        ("eval('1 + 1')", "eval"),
        ("exec(text)", "exec"),
        ("import yaml\nyaml.load(text)", "yaml.load"),
        ("from yaml import load\nload(text)", "yaml.load"),
        ("import numpy as np\nnp.load(path, allow_pickle=True)", "allow_pickle"),
        ("np.load(path, allow_pickle=trusted)", "allow_pickle"),
        ("import torch\ntorch.load(path)", "torch.load without weights_only=True"),
        ("from torch import load\nload(path)", "torch.load without weights_only=True"),
        ("torch.load(path, weights_only=False)", "torch.load without weights_only=True"),
        ("tarfile.open(path).extractall(folder)", "extractall without filter='data'"),
        ("archive.extractall(folder, filter='tar')", "extractall without filter='data'"),
        ("subprocess.run(command, shell=True)", "shell"),
        ("import os\nos.system(command)", "os.system"),
        ("import numpy as np\nnp.random.seed(0)", "numpy.random.seed"),
        ("import numpy\nx = numpy.random.rand(3)", "numpy.random.rand"),
        ("from numpy import random\nrandom.shuffle(x)", "numpy.random.shuffle"),
        ("from numpy.random import rand", "numpy.random.rand"),
        ("import numpy as np\ndraw = np.random.normal", "numpy.random.normal"),
    ],
)
def test_an_offence_is_seen(source, offence):
    assert offence in set(offences(source))


@pytest.mark.parametrize(
    "source",
    [
        "from jax import random\nrandom.normal(key)",
        "import jax\njax.random.normal(key)",
        "import numpy as np\nnp.random.default_rng(0).normal()",
        "from numpy.random import default_rng",
        "compiled = jax.jit(f).lower(x).compile()",
        "import torch\ntorch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "archive.extractall(folder, filter='data')",
        "import re\nre.compile('a')",
    ],
)
def test_the_right_way_is_let_through(source):
    assert not set(offences(source))


@pytest.mark.parametrize(("name", "source"), sources().items(), ids=sources())
def test_no_offence(name, source):
    assert not set(offences(source)), name


# Whatever a person or a file says goes through one place: `files.located`, `files.read`.
UNBOUNDED = {"read_bytes", "read_text", "expanduser"}
READERS = ("dlcore/data/", "dlcore/interop/", "dlcore/models/", "dlcore/train/checkpoint.py")


def test_files_are_located_and_read_in_one_place():
    found = {
        (name, node.attr)
        for name, source in sources().items()
        if name.startswith(READERS)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr in UNBOUNDED
    }
    assert not found
