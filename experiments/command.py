"""The command line: a list of the experiments, or one of them run.

Exit status: 0 the claim holds (or there is none), 1 it does not, 2 bad input, told in one line,
130 interrupted, 141 nobody reads the output any more (see `__main__`). With DLCORE_TRACEBACK=1 an
error is shown with its traceback instead.
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

from experiments import catalogue, claim, frame
from experiments.claim import Claim, Verdict
from experiments.tables import terminal

USAGE = """usage: python -m experiments NAME [--flags]     run one
       python -m experiments NAME --help        its claims and its flags
       python -m experiments --claims           the claims of all
"""
# What wrong input raises; any other exception is a mistake of ours, and shown whole.
BAD_INPUT = (ValueError, TypeError, OSError, FloatingPointError)
WIDTH = 120  # of tables that go to a file
EXTRAS = {"matplotlib": "plot", "PIL": "images"}


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` and returns the exit status."""
    try:
        if not argv or argv[0] in ("-h", "--help"):
            print(f"{USAGE}\n{catalogue.table()}")
            return 0
        if argv[0] == "--claims":
            for entry in catalogue.entries():
                _print_claims(entry.load().CLAIMS, entry.name)
            return 0
        return _run(catalogue.find(argv[0]), list(argv[1:]))
    except KeyboardInterrupt as interrupt:
        return _fail(one_line(interrupt) or "interrupted", 130)
    except BrokenPipeError:
        raise
    except BAD_INPUT as error:
        if os.environ.get("DLCORE_TRACEBACK"):
            raise
        return _fail(one_line(error), 2)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        return _fail(_install(error.name), 2)


def _run(entry: catalogue.Entry, argv: list[str]) -> int:
    experiment = entry.load()
    config = _parse(experiment, entry, argv)
    if config is None:
        return 0
    if not hasattr(config, "out"):
        return _show(frame.run(experiment, config))

    from experiments import output

    out = config.out or Path("runs") / entry.name
    config = dataclasses.replace(config, out=out)
    resume = getattr(config, "resume", False)
    aside = output.prepare(out, entry.name, resume=resume)
    try:
        result = _result(experiment, config, aside)
        output.write_result(out, entry.name, result)  # before showing it can fail
        status = _show(result)
        _write_figures(experiment, entry, out, result)
    except KeyboardInterrupt as interrupt:
        _tell(out, aside)
        if not (hasattr(config, "resume") and output.is_resumable(out)):
            raise
        again = argv if resume else [*argv, "--resume"]
        command = shlex.join([_python(), "-m", __package__, entry.name, *again])
        raise KeyboardInterrupt(
            f"{one_line(interrupt) or 'interrupted'}; go on with: {command}"
        ) from None
    _tell(out, aside)
    print(f"Everything is in {out}: {', '.join(sorted(one.name for one in out.glob('[!.]*')))}")
    return status


def _result(experiment: Any, config: Any, aside: Path | None) -> Any:
    """What the experiment gives; the folder is as before where its input is bad."""
    from experiments import output

    try:
        return frame.run(experiment, config)
    except BAD_INPUT:
        output.withdraw(config.out, aside)
        raise


def _tell(out: Path, aside: Path | None) -> None:
    if aside is not None:
        print(f"The earlier run in {out} is now in {aside}.")


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
            _print_claims(experiment.CLAIMS)
            return None
        raise ValueError(_unboxed(printed.getvalue())) from None


def _unboxed(box: str) -> str:
    """What stands in tyro's box as one line: the error above the first rule, and its best guess."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    body = [line for line in plain.splitlines() if not line.startswith(("╭", "╰"))]
    text = re.split("─{3,}", "\n".join(body))[0]
    said = " ".join(text.replace("│", " ").split()).removeprefix("Error parsing Config: ")
    meant = re.search(r"Perhaps you meant:[\s│]*(--[\w-]+)", plain)
    return f"{said}; did you mean {meant[1]}?" if meant else said


def _show(result: Any) -> int:
    """Prints the result and its claims; the exit status that follows from these."""
    _print(result)
    _print_claims(result.claims)
    return 0 if all(one.holds for one in result.claims) else 1


def _print_claims(claims: Sequence[Claim] | Sequence[Verdict], title: str = "") -> None:
    if claims:
        _print(terminal(claim.table(claims), title))


def _print(shown: Any) -> None:
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise  # the error itself; rich would exit with 1, as if a claim did not hold

    Output(width=None if sys.stdout.isatty() else WIDTH).print(shown)


def _write_figures(experiment: Any, entry: catalogue.Entry, out: Path, result: Any) -> None:
    from experiments import output

    try:
        output.write_figures(out, entry.name, experiment.plot(result))
    except ModuleNotFoundError as missing:
        if missing.name not in EXTRAS:
            raise
        print(f"There are no figures: {_install(missing.name)}")


def _install(module: str) -> str:
    return f"this needs {module}: pip install 'dlcore[{EXTRAS[module]}]'"


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
