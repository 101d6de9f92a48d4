"""Run by test_checkpoint.py as a program: kill savers in every moment, look at what is left.

One process imports dlcore and forks the savers, so that a kill costs milliseconds. Leaves are numpy
arrays: no device is ever started, which a fork would not survive.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from dlcore.train import checkpoint

HOOKED = ("mkdir", "open", "fsync", "rename", "unlink", "rmdir", "close")


def trees(step: int) -> dict:
    """What a checkpoint of a step must hold, to the last bit."""
    rng = np.random.default_rng(step)
    return {"params": {"kernel": rng.normal(size=(40, 50))}, "optimizer": (np.array(step), None)}


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def check(root: Path, step: int | None = None) -> int:
    """The step of the checkpoint found, -1 without any; it must be whole and equal."""
    found = checkpoint.restore(root, trees(0), step)
    if found is None:
        return -1
    jax.tree.map(np.testing.assert_array_equal, found.trees, trees(found.step))
    assert found.meta == {"step": found.step}
    return found.step


def at_random(root: Path, kills: int = 50) -> None:
    """Savers that save without a pause, killed at random moments."""
    rng, step, leftovers = random.Random(0), -1, 0
    for _ in range(kills):
        ours, theirs = os.pipe()

        def endlessly(step: int = step, pipe: int = theirs) -> None:
            with checkpoint.Writer(root) as writer:
                while True:
                    step += 1
                    writer.save(step, trees(step), {"step": step})
                    os.write(pipe, struct.pack("q", step))

        child = forked(endlessly)
        os.close(theirs)
        time.sleep(rng.uniform(0, 0.04))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reported = os.read(ours, 1 << 16)
        os.close(ours)
        finished = struct.unpack("q", reported[-8:])[0] if reported else step
        leftovers += any(root.glob(".tmp-step-*"))
        step = check(root)
        assert step >= finished, (step, finished)
    with checkpoint.Writer(root):
        assert not any(root.glob(".tmp-*"))
    print(f"{step} steps saved, {leftovers} kills left something half-written")


def at_every_call(root: Path, saved: int) -> int:
    """A saver with checkpoints 1 to 3 behind it saves one step, and dies at its k-th call."""
    calls, status = -1, None
    while status != 0:
        calls += 1
        home = root / f"{saved}-{calls}"
        for step in (1, 2, 3):
            checkpoint.save(home, step, trees(step), {"step": step})

        def once(moment: int = calls, home: Path = home) -> None:
            with checkpoint.Writer(home) as writer:
                die_at(moment)
                writer.save(saved, trees(saved), {"step": saved})

        _, status = os.waitpid(forked(once), 0)
        assert check(home) in (3, saved)
        for step in checkpoint.steps(home):
            assert check(home, step) == step
        checkpoint.save(home, 5, trees(5), {"step": 5})
        assert checkpoint.steps(home)[-1] == check(home) == 5
        assert len(checkpoint.steps(home)) == 3
        assert not any(home.glob(".tmp-*"))
        assert status in (0, signal.SIGKILL)
    return calls


def die_at(moment: int) -> None:
    """Kill this process instead of its next call but `moment` of a hooked function of os."""
    left = [moment]

    def hooked(real: Callable) -> Callable:
        def call(*arguments, **options):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return real(*arguments, **options)

        return call

    for name in HOOKED:
        setattr(os, name, hooked(getattr(os, name)))


if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
    folder = Path(sys.argv[1])
    at_random(folder / "random")
    print(*(at_every_call(folder, saved) for saved in (3, 4)), "calls killed")
