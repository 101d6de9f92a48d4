"""A peer in a process of its own, and the pipe to it: a line of JSON each way.

    python -m experiments.speed._worker MODULE NETWORK FOLDER

The first answer says what the library takes when it is imported, and whether it has the network.
Each line that is asked then is a turn; an answer has its seconds, its mean loss, and the most
memory so far. The process ends with its standard input.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from experiments.speed import _networks

ROOT = Path(__file__).parents[2]

# Caches of compiled programs would hide the time to first step; several processes share a device;
# Keras asks the environment which library it stands on.
ENVIRONMENT = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "KERAS_BACKEND": "jax",
}


# ----------------------------------------------------------------------------- in the process


def main(module: str, name: str, folder: str) -> None:
    """Answers until there is nothing more to read."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as channel:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer

        def answer(**facts: Any) -> None:
            channel.write(json.dumps(facts) + "\n")
            channel.flush()

        peer = importlib.import_module(f"{__package__}.{module}")
        answer(memory=peak_memory(), has_network=name in peer.MODELS)
        if name in peer.MODELS:
            serve(peer, name, Path(folder), answer)


def serve(peer: Any, name: str, folder: Path, answer: Callable[..., None]) -> None:
    """Takes a turn whenever asked, the first beginning with the building of the network."""
    places, data = _networks.places(folder), peer.ready(folder)
    for number, _ in enumerate(sys.stdin):
        began = time.perf_counter()
        if number == 0:
            parameters, turns = peer.start(name, places, data)
        losses = next(turns)
        float(losses[-1])  # is there only when all of the turn is done
        seconds = time.perf_counter() - began
        loss = sum(map(float, losses)) / len(losses)
        answer(seconds=seconds, loss=loss, parameters=parameters, memory=peak_memory())


def peak_memory() -> int:
    """The most bytes of memory that this process has held at once.

    From Linux itself where it says so: the resource usage of a process begins, there, with that of
    the process which started it.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# ----------------------------------------------------------------------------- beside the process


class Hello(NamedTuple):
    """The first answer: bytes of memory, and whether there will be others."""

    memory: int
    has_network: bool


class Turn(NamedTuple):
    """An answer: seconds, mean loss, numbers that are learned, bytes of memory."""

    seconds: float
    loss: float
    parameters: int
    memory: int


class Worker:
    """A process that waits for its turns, and ends with the `with` block."""

    def __init__(self, label: str, module: str, network: str, folder: Path) -> None:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.label, self.network = label, network
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.speed._worker", module, network, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        with contextlib.suppress(BrokenPipeError), self._errors, self._process:
            if kind is not None:
                self._process.kill()  # in the middle of a turn, perhaps

    def hello(self) -> Hello:
        """What it says when its library is imported."""
        return Hello(**self._read())

    def turn(self) -> Turn:
        """The next turn; whoever else is there waits."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and reading says how
            self._process.stdin.write(json.dumps("turn") + "\n")
            self._process.stdin.flush()
        return Turn(**self._read())

    def _read(self) -> dict[str, Any]:
        """Its next answer; ChildProcessError with its last words where there is none."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").split("\n")
        last = next((text.strip() for text in reversed(words) if text.strip()), "without a word")
        raise ChildProcessError(f"{self.label} ended on {self.network}: {last}")


if __name__ == "__main__":
    main(*sys.argv[1:])
