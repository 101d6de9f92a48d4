"""The command line: a list of the experiments, or one of them run.

Exit status: 0 the claim holds (or there is none), 1 it does not, 2 bad input, told in one line,
130 interrupted. With DLCORE_TRACEBACK=1 an error is shown with its traceback instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import catalogue

USAGE = """usage: python -m experiments NAME [--flags]     run one
       python -m experiments NAME --help        its flags
"""
# What wrong input raises; any other exception is a mistake of ours, and shown whole.
BAD_INPUT = (ValueError, TypeError, OSError, FloatingPointError, ModuleNotFoundError)


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` and returns the exit status."""
    try:
        if not argv or argv[0] in ("-h", "--help"):
            print(f"{USAGE}\n{catalogue.table()}")
            return 0
        return _run(catalogue.find(argv[0]), list(argv[1:]))
    except KeyboardInterrupt as interrupt:
        return _fail(one_line(interrupt) or "interrupted", 130)
    except BAD_INPUT as error:
        if os.environ.get("DLCORE_TRACEBACK"):
            raise
        return _fail(one_line(error), 2)


def _run(entry: catalogue.Entry, argv: list[str]) -> int:
    experiment = entry.load()
    config = _parse(experiment, entry, argv)
    if config is None:
        return 0
    if not hasattr(config, "out"):
        return _show(experiment.run(config))

    from experiments import output

    out = config.out or Path("runs") / entry.name
    config = dataclasses.replace(config, out=out)
    resume = getattr(config, "resume", False)
    if said := output.prepare(out, entry.name, resume=resume):
        print(said)
    try:
        result = experiment.run(config)
        status = _show(result)
        _write_figures(experiment, entry, out, result)
        output.write_result(out, entry.name, config, result)
    except KeyboardInterrupt as interrupt:
        if not (hasattr(config, "resume") and output.is_resumable(out)):
            raise
        again = argv if resume else [*argv, "--resume"]
        command = shlex.join([_python(), "-m", __package__, entry.name, *again])
        raise KeyboardInterrupt(
            f"{one_line(interrupt) or 'interrupted'}; go on with: {command}"
        ) from None
    print(f"Everything is in {out}: {', '.join(sorted(one.name for one in out.glob('[!.]*')))}")
    return status


def _parse(experiment: Any, entry: catalogue.Entry, argv: list[str]) -> Any:
    """The experiment's Config from its flags; None where only help was asked for."""
    import tyro

    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(
                experiment.Config,
                prog=f"python -m {__package__} {entry.name}",
                description=experiment.__doc__,
                args=argv,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
            )
    except SystemExit as stop:
        if not stop.code:
            return None
        raise ValueError(_unboxed(printed.getvalue())) from None


def _unboxed(box: str) -> str:
    """What stands in tyro's box, above its first rule, as one line."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", box).split("\n", 1)[1]
    text = re.split("│ ─+ │", text)[0]
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())
    return text.removeprefix("Error parsing Config: ").replace("Unrecognized options", "unknown flags")


def _show(result: Any) -> int:
    """Prints the result and its claims; the exit status that follows from these."""
    from rich.console import Console

    from experiments import claim

    console = Console()
    console.print(result)
    claims = getattr(result, "claims", ())
    if claims:
        console.print(claim.table(claims))
    return 0 if all(one.holds for one in claims) else 1


def _write_figures(experiment: Any, entry: catalogue.Entry, out: Path, result: Any) -> None:
    from experiments import output

    try:
        output.write_figures(out, entry.name, experiment.plot(result))
    except ModuleNotFoundError as missing:
        if missing.name != "matplotlib":
            raise
        print("There are no figures: they need matplotlib, pip install 'dlcore[plot]'")


def _python() -> str:
    """The command of this interpreter, from here."""
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def one_line(error: BaseException) -> str:
    """An error and its notes on one line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(" ".join([text, *getattr(error, "__notes__", [])]).split())


def _fail(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
