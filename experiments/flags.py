"""A Config from the flags of a command line, and its help.

tyro reads them. What is wrong with flags that it refuses is found by asking it about each alone,
so that its boxes, which differ from version to version, are never shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import io
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

from experiments import frame
from experiments.choice import BadInput, one_of

FLAG = re.compile(r"^ *(?:-h, )?(--[a-z][\w.-]*)((?: \S+)*)", re.M)  # in tyro's help
IS_FLAG = re.compile(r"--?(?!(?:inf|nan|infinity)$)[a-z]", re.I)
BOX = re.compile("[│╭╮╰╯─]")
TITLES = ("positional arguments", "options")
NARROWEST = 40  # columns: tyro takes no fewer
PLACES = {"out", "root", "resume"}  # what a run that goes on may be told anew


def parse(kind: type, argv: list[str]) -> Any:
    """The Config (a `kind`) that flags say, the last of each; None where they ask for help."""
    settings, said = _read(kind, argv)
    if said:
        return None
    if settings is None:
        raise BadInput(_wrong(kind, argv))
    try:
        return frame.checked(kind(**settings))
    except ValueError as error:
        raise BadInput(str(error)) from error


def resumed(experiment: Any, argv: list[str], begun: dict[str, Any]) -> Any:
    """The Config of a run that goes on, begun with that one (in plain values).

    Flags may say anew where things lie; BadInput where they say anything else that differs.
    """
    before = parse(experiment.Config, _flags(begun))
    config = parse(experiment.Config, [*_flags(begun), *argv])
    settled = getattr(experiment, "settled", lambda config: config)
    old, new = (dataclasses.asdict(settled(one)) for one in (before, config))
    for name in old:
        if name not in PLACES and old[name] != new[name]:
            raise BadInput(
                f"the run was begun with {name}={old[name]}, not {new[name]}: go on with it "
                f"without {_flag(name)}, or choose a new folder with --out"
            )
    return config


def explained(experiment: Any, name: str) -> Iterator[str]:
    """The help, by paragraphs: usage, docstring, flags."""
    _, said = _read(experiment.Config, ["--help"], name)
    usage, _, _ = said.partition("\n\n")
    for paragraph in [usage, *inspect.cleandoc(experiment.__doc__).split("\n\n")]:
        indent = paragraph[: len(paragraph) - len(paragraph.lstrip())]
        yield textwrap.fill(
            " ".join(paragraph.split()),
            width(),
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    lines = [line.rstrip() for line in said.splitlines()]
    first = next(number for number, line in enumerate(lines) if line.strip() in TITLES)
    yield "\n".join(line for line in lines[first:] if not line or line.strip(" -"))


def width() -> int:
    """Columns for the help: those of the terminal, 80 where there is none."""
    return max(NARROWEST, shutil.get_terminal_size().columns)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _flags(settings: dict[str, Any]) -> list[str]:
    """The flags that say a Config in plain values."""
    flags = []
    for name, value in settings.items():
        if value is True:
            flags.append(_flag(name))
        elif isinstance(value, list):
            flags += [_flag(name), *map(str, value)]
        elif value is not None and value is not False:
            flags.append(f"{_flag(name)}={value}")
    return flags


def _read(kind: type, argv: list[str], name: str = "") -> tuple[dict[str, Any] | None, str]:
    """(what flags say, by field, or None where tyro refuses one; the help, if they ask for it)."""
    import tyro

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        try:
            config: Any = tyro.cli(
                _unchecked(kind),
                prog=f"python -m {__package__} {name}",
                description="",
                args=argv,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
            )
        except SystemExit:
            return None, BOX.sub(" ", said.getvalue())
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}, ""


@functools.cache
def _unchecked(kind: type) -> type:
    """The Config without its own check: tyro would call what that refuses a flag it cannot read."""
    return type(kind.__name__, (kind,), {"__post_init__": lambda config: None})


def _wrong(kind: type, argv: list[str]) -> str:
    """What is wrong with flags that tyro refuses: the first that it also refuses alone."""
    takes = dict(FLAG.findall(_read(kind, ["--help"])[1]))
    groups: list[list[str]] = [[]]
    for token in argv:
        if IS_FLAG.match(token):
            one_of("flag", token.partition("=")[0].replace("_", "-"), takes)
            groups.append([token])
        else:
            groups[-1].append(token)
    for group in groups:
        if _read(kind, group)[0] is None:
            return _misread(group, takes)
    return f"cannot be read: {shlex.join(argv)}"


def _misread(group: list[str], takes: dict[str, str]) -> str:
    flag, *values = [*group[0].split("=", 1), *group[1:]]
    name = flag.replace("_", "-")
    if name not in takes:
        return f"{' '.join(group)!r:.80} stands after no flag"
    return f"{name} takes {takes[name].strip() or 'no value'}, got {' '.join(values)!r:.80}"
