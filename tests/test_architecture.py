"""The floors of the house: imports go down only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each part of dlcore and the parts it may know. A new one has to find its floor here first.
GROUND = {
    "checks",
    "fields",
    "functional",
    "keys",
    "tree",
    "flops",
    "files",
    "names",
    "tracebacks",
    "misfits",
}
FLOORS: dict[str, set[str]] = {
    "checks": set(),
    "fields": set(),
    "files": set(),
    "flops": set(),
    "keys": set(),
    "kinds": {"fields"},
    "misfits": set(),
    "names": {"kinds"},
    "tracebacks": set(),
    "tree": {"names"},
    "window": {"checks"},
    "kernels": {"checks", "window"},
    "functional": {"checks", "fields", "kernels", "names", "window"},
    "derivatives": {"checks", "fields", "functional", "names", "window"},
    "device": {"flops", "functional", "kernels"},
    "data": {"checks", "fields", "keys", "files", "names"},
    "nn": GROUND | {"device", "window"},
    "optim": GROUND,
    "models": GROUND | {"nn", "interop"},
    "interop": GROUND | {"nn"},
    "plot": GROUND,
    "generate": GROUND | {"nn"},
    "train": GROUND | {"device", "data", "nn", "optim", "models", "interop"},
    "search": GROUND | {"device", "data", "nn", "optim", "train"},
    "analysis": GROUND | {"device", "data", "nn", "optim", "interop", "train"},
}


def modules(package: Path) -> dict[str, Path]:
    """The modules of a package by their dotted names."""
    paths = sorted(package.rglob("*.py"))
    return {".".join(_parts(path.relative_to(package.parent))): path for path in paths}


def _parts(path: Path) -> tuple[str, ...]:
    parts = path.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(name: str, source: str, known: set[str], is_package: bool = False) -> Iterator[str]:
    """The modules among `known` that module `name` imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            home = name.split(".") if is_package else name.split(".")[:-1]
            above = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield from {deeper if deeper in known else base} & known


def graph() -> dict[str, set[str]]:
    """Every module of dlcore and experiments, and which of them it imports."""
    paths = modules(ROOT / "dlcore") | modules(ROOT / "experiments")
    return {
        name: set(imports(name, path.read_text(), set(paths), path.name == "__init__.py")) - {name}
        for name, path in paths.items()
    }


GRAPH = graph()
PARTS = sorted({name.split(".")[1] for name in GRAPH if name.startswith("dlcore.")})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import dlcore.nn.layer", {"dlcore.nn.layer"}),
        ("from dlcore import keys, nn", {"dlcore.keys", "dlcore.nn"}),
        ("from dlcore.nn.layer import Layer", {"dlcore.nn.layer"}),
        ("from .layer import Layer", {"dlcore.nn.layer"}),
        ("from . import layer", {"dlcore.nn.layer"}),
        ("from .. import keys", {"dlcore.keys"}),
        ("def f():\n    from dlcore.keys import child", {"dlcore.keys"}),
        ("import jax\nfrom jax import nn", set()),
    ],
)
def test_imports_are_found(source, expected):
    known = {"dlcore", "dlcore.keys", "dlcore.nn", "dlcore.nn.layer", "dlcore.nn.conv"}
    assert set(imports("dlcore.nn.conv", source, known)) == expected


@pytest.mark.parametrize("part", PARTS)
def test_imports_go_down_only(part):
    assert part in FLOORS, f"dlcore.{part} is new: say in FLOORS what it may import"
    allowed = {f"dlcore.{name}" for name in FLOORS[part] | {part}}
    wrong = {
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        if _within(name, f"dlcore.{part}")
        for other in others
        if not any(_within(other, parent) for parent in allowed)
    }
    assert not wrong


def _within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(parent + ".")


def test_the_floors_themselves_go_down():
    list(TopologicalSorter(FLOORS).static_order())
    assert "optim" not in FLOORS["nn"]
    assert "nn" not in FLOORS["optim"]
    assert not FLOORS["models"] & {"optim", "train", "data"}
    assert not FLOORS["plot"] & {"optim", "train"}


def test_nothing_in_the_library_knows_the_experiments():
    assert not {
        name
        for name, others in GRAPH.items()
        if _within(name, "dlcore") and any(_within(other, "experiments") for other in others)
    }


def test_no_cycles():
    try:
        list(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")
