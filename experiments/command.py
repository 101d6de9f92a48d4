"""The command line: a list of the experiments, or one of them run.

Exit status: 0 the claim holds (or there is none), 1 it does not, 2 bad input, told in one line,
130 interrupted, 141 the run is complete and saved, but nobody reads the output any more (or the
output cannot be written). With DLCORE_TRACEBACK=1 an error is shown with its traceback instead.

Bad input is what is so by its kind: a BadInput (a Config that refuses its settings among them), an
error that dlcore names for what people give it, and what the machine refuses. Any other exception,
a ValueError too, is a mistake of ours, and shown whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments import catalogue, claim, flags, frame
from experiments.choice import BadInput, one_of
from experiments.claim import Claim, Verdict
from experiments.tables import terminal

USAGE = """usage: python -m experiments NAME [--flags]     run one
       python -m experiments NAME --help        its claims and its flags
       python -m experiments --claims           the claims of all
"""
WIDTH = 120  # of tables that go to a file
LONGEST = 500  # characters of an error
EXTRAS = {"matplotlib": "plot", "PIL": "images", "cv2": "images", "umap": "umap"}


class Unread(Exception):
    """What was said could not be written."""


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` and returns the exit status."""
    try:
        return _command(*argv)
    except Unread:
        return 141  # as a shell reports SIGPIPE
    except KeyboardInterrupt as interrupt:
        return _fail(one_line(interrupt) or "interrupted", 130)
    except Exception as error:
        if os.environ.get("DLCORE_TRACEBACK") or not _is_bad_input(error):
            raise
        return _fail(_cut(one_line(error)), 2)


def _command(name: str = "--help", *argv: str) -> int:
    if not name.startswith("-"):
        return _run(catalogue.find(name), list(argv))
    one_of("flag", name, ("-h", "--help", "--claims"))
    if argv:
        raise BadInput(f"{name} stands alone; of one experiment: python -m experiments NAME --help")
    if name == "--claims":
        for entry in catalogue.entries():
            _print_claims(entry.load().CLAIMS, title=entry.name)
    else:
        _say(f"{USAGE}\n{catalogue.table()}")
    return 0


def _run(entry: catalogue.Entry, argv: list[str]) -> int:
    experiment = entry.load()
    config = flags.parse(experiment.Config, argv)
    if config is None:
        for paragraph in flags.explained(experiment, entry.name):
            _say(f"{paragraph}\n")
        _print_claims(experiment.CLAIMS, width=flags.width())
        return 0
    with _steady():
        if hasattr(config, "out"):
            return _written(experiment, entry.name, config, argv)
        return _show(frame.run(experiment, config))


def _written(experiment: Any, name: str, config: Any, argv: list[str]) -> int:
    """Runs an experiment in the folder that it writes."""
    from experiments import output

    out = config.out or Path("runs") / name
    resume = getattr(config, "resume", False)
    if resume and (begun := output.settings(out)):
        config = flags.resumed(experiment, argv, begun)
    config = dataclasses.replace(config, out=out)
    aside = output.prepare(out, name, config, resume=resume)
    try:
        result = frame.run(experiment, config)
        output.write_result(out, name, result)  # before showing it can fail
        status = _show(result)
        _write_figures(experiment, name, out, result)
    except KeyboardInterrupt as interrupt:
        if not (hasattr(config, "resume") and output.is_resumable(out)):
            raise
        again = argv if resume else [*argv, "--resume"]
        command = shlex.join([_python(), "-m", __package__, name, *again])
        raise KeyboardInterrupt(
            f"{one_line(interrupt) or 'interrupted'}; go on with: {command}"
        ) from None
    finally:
        if not resume and (aside := output.withdraw(out, aside)):
            print(f"The earlier run in {out} is now in {aside}.")
    print(f"Everything is in {out}: {', '.join(sorted(one.name for one in out.glob('[!.]*')))}")
    return status


@contextlib.contextmanager
def _steady() -> Iterator[None]:
    """An output that fails costs no run: Unread is raised at its end."""
    from dlcore.train.progress import Steady

    out, err = Steady(sys.stdout), Steady(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield
        out.flush()
        err.flush()
    if out.lost or err.lost:
        raise Unread


def _show(result: Any) -> int:
    """Prints the result, its claims and its errors; the exit status that follows from these."""
    _print(result)
    _print_claims(result.claims)
    if result.errors:
        return max(_fail(_cut(one_line(error)), 2) for error in result.errors)
    return 0 if all(one.holds for one in result.claims) else 1


def _print_claims(
    claims: Sequence[Claim] | Sequence[Verdict], title: str = "", width: int | None = None
) -> None:
    if claims:
        _print(terminal(claim.table(claims), title), width)


def _print(shown: Any, width: int | None = None) -> None:
    """By rich, in the width of the terminal where none is given."""
    from rich.console import Console

    console = Console(file=sys.stdout, width=width or (None if sys.stdout.isatty() else WIDTH))
    with console.capture() as printed:
        console.print(shown)
    _say(printed.get(), end="")


def _say(text: str, end: str = "\n") -> None:
    try:
        print(text, end=end, flush=True)
    except OSError:
        raise Unread from None


def _write_figures(experiment: Any, name: str, out: Path, result: Any) -> None:
    from experiments import output

    try:
        output.write_figures(out, name, experiment.plot(result))
    except ModuleNotFoundError as missing:
        if missing.name not in EXTRAS:
            raise
        print(f"There are no figures: {one_line(missing)}")


def _is_bad_input(error: Exception) -> bool:
    """Whether it is so by its kind."""
    if isinstance(error, BadInput | OSError | MemoryError):
        return True
    if isinstance(error, ModuleNotFoundError):
        return error.name in EXTRAS
    from jax.errors import JaxRuntimeError

    from dlcore.data.dataset import DataError
    from dlcore.interop.weights import WeightsError
    from dlcore.train import CheckpointError, NonFiniteLossError

    if isinstance(error, JaxRuntimeError):
        return "RESOURCE_EXHAUSTED" in str(error)  # its MemoryError
    return isinstance(error, DataError | WeightsError | CheckpointError | NonFiniteLossError)


def _python() -> str:
    """The command of this interpreter, from here."""
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def one_line(error: BaseException) -> str:
    """An error and its notes on one line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        text = f"this needs {error.name}: pip install 'dlcore[{EXTRAS[error.name]}]'"
    return " ".join(" ".join([text, *getattr(error, "__notes__", [])]).split())


def _cut(text: str) -> str:
    """`text` without its middle, where it is long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"


def _fail(message: str, status: int) -> int:
    with contextlib.suppress(OSError):  # nobody reads it: the status says it too
        print(message, file=sys.stderr, flush=True)
    return status
