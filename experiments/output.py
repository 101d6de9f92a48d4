"""The folder of a run: everything an experiment writes lies in it, and no earlier run is lost.

OUT/.experiment    the experiment's name and, as JSON, its Config; a folder without it is not ours
OUT/…              what the experiment writes itself (metrics, weights, checkpoints)
OUT/NAME.png       its figures, animations as NAME.gif
OUT/result.md      its tables and claims
OUT/result.json    with it the run is complete
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import dlcore
from dlcore import files, plot
from experiments import claim
from experiments.choice import BadInput
from experiments.frame import Result
from experiments.tables import markdown

MARKER = ".experiment"
RESULT = "result.json"


def prepare(out: Path, name: str, config: Any, resume: bool = False) -> Path | None:
    """Makes `out` ready to be written. Returns where an earlier complete run in it was moved to.

    Refused: an unfinished run, unless it is resumed; another experiment's; files that are not ours;
    a folder that cannot be written.
    """
    aside = None
    if out.is_dir() and any(out.iterdir()):
        if not (out / MARKER).is_file():
            raise BadInput(f"{out} holds other files: choose a new folder with --out")
        other, _ = _marked(out)
        if other != name:
            raise BadInput(f"{out} is a run of {other!r:.40}: choose a new folder with --out")
        if (out / RESULT).exists() and not resume:
            aside = _move_aside(out)
        elif not resume and is_resumable(out):
            raise BadInput(
                f"{out} holds an unfinished run: go on with it by --resume, or choose a new "
                "folder with --out"
            )
    out.mkdir(parents=True, exist_ok=True)
    files.replace(out / MARKER, f"{name}\n{files.to_json(plain(config))}\n".encode())
    return aside


def withdraw(out: Path, aside: Path | None) -> Path | None:
    """Undoes `prepare`, if nothing was written since. Returns where the earlier run is still."""
    if not out.is_dir() or [path.name for path in out.iterdir()] != [MARKER]:
        return aside
    (out / MARKER).unlink()
    out.rmdir()
    if aside is not None:
        aside.rename(out)
    return None


def settings(out: Path) -> dict[str, Any]:
    """The Config of the run in `out`, as `plain`; empty where there is none."""
    try:
        found = json.loads(_marked(out)[1])
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _marked(out: Path) -> tuple[str, str]:
    """What the marker says: the experiment's name, and the settings as JSON."""
    name, _, text = (out / MARKER).read_text(encoding="utf-8", errors="replace").partition("\n")
    return name, text


def is_resumable(out: Path) -> bool:
    """Whether there is a checkpoint to go on from."""
    return any((out / "checkpoints").glob("step-*"))


def write_result(out: Path, name: str, result: Result[Any]) -> None:
    """result.json: the plain values of the result, versions and device; result.md: its tables."""
    facts = {
        "experiment": name,
        "measured": plain(result.measured),
        "claims": plain(result.claims),
        "seconds": result.seconds,
        "config": plain(result.config),
        "versions": versions(),
        "device": device(),
    }
    files.replace(out / RESULT, (files.to_json(facts, indent=2) + "\n").encode())
    parts = [markdown(table, title) for title, table in result.tables.items()]
    if result.claims:
        parts.append(markdown(claim.table(result.claims), "Claims"))
    files.replace(out / "result.md", "\n".join(parts).encode())


def write_figures(out: Path, name: str, figures: Any) -> list[Path]:
    """The figures as PNG, animations as GIF: a dict by its names, one by the experiment's."""
    paths = []
    for stem, figure in (figures if isinstance(figures, Mapping) else {name: figures}).items():
        paths.append(out / f"{stem}{plot.suffix(figure)}")
        plot.save(figure, paths[-1])
    return paths


def plain(value: Any) -> Any:
    """What JSON can hold of `value`, with null for NaN and infinity.

    A dataclass becomes a dict of the fields that its repr shows, a named tuple one of all.
    """
    if dataclasses.is_dataclass(value):
        value = {
            field.name: getattr(value, field.name)
            for field in dataclasses.fields(value)
            if field.repr
        }
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def versions() -> dict[str, str]:
    """What the figures of a run depend on."""
    import jaxlib
    import optax

    modules = (dlcore, jax, jaxlib, optax, np)
    named = {module.__name__: module.__version__ for module in modules}
    return {"python": platform.python_version(), **named}


def device() -> dict[str, Any]:
    """The device that computes, and how many processors there are beside it."""
    first = jax.devices()[0]
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "cpus": os.cpu_count(),
    }


def _move_aside(out: Path) -> Path:
    if Path.cwd().is_relative_to(out.resolve()):
        raise BadInput(f"{out} is where you are, and cannot be moved aside: choose another --out")
    for number in itertools.count(1):
        aside = out.with_name(f"{out.name}.{number}")
        if not aside.exists():
            out.rename(aside)
            return aside
    raise AssertionError("unreachable")
