"""Run by test_checkpoint.py as a program, with a folder and a stride: kill savers in every moment
(in every STRIDE-th), look at what is left.

One process imports dlcore and forks the savers, so that a kill costs milliseconds. Leaves are numpy
arrays: no device is ever started, which a fork would not survive.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import struct
import sys
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


def at_random(root: Path, kills: int) -> None:
    """Savers that save without a pause and tell their last step before each call; at a random one
    of these they are killed, from outside and so anywhere in what they do next.
    """
    rng, step, leftovers = random.Random(0), -1, 0
    for _ in range(kills):
        ours, theirs = os.pipe()

        def endlessly(step: int = step, pipe: int = theirs) -> None:
            before_each_call(lambda: os.write(pipe, struct.pack("q", step)))
            with checkpoint.Writer(root) as writer:
                while True:
                    writer.save(step + 1, trees(step + 1), {"step": step + 1})
                    step += 1

        child = forked(endlessly)
        os.close(theirs)
        with open(ours, "rb") as told:
            reported = told.read(8 * rng.randrange(1, 400))
            os.kill(child, signal.SIGKILL)
            assert os.waitpid(child, 0) == (child, signal.SIGKILL)
            reported += told.read()
        (finished,) = struct.unpack("q", reported[-8:])
        leftovers += any(root.glob(".tmp-step-*"))
        step = check(root)
        assert step >= finished, (step, finished)
    with checkpoint.Writer(root):
        assert not any(root.glob(".tmp-*"))
    print(f"{step} steps saved, {leftovers} kills left something half-written")


def at_every_call(root: Path, saved: int, stride: int) -> int:
    """A saver with checkpoints 1 to 3 behind it saves one step, and dies at its k-th call."""
    calls, status = -stride, None
    while status != 0:
        calls += stride
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
    moments = itertools.count()

    def die() -> None:
        if next(moments) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    before_each_call(die)


def before_each_call(act: Callable[[], object]) -> None:
    """Let this process do something before it calls a hooked function of os."""

    def hooked(real: Callable) -> Callable:
        def call(*arguments, **options):
            act()
            return real(*arguments, **options)

        return call

    for name in HOOKED:
        setattr(os, name, hooked(getattr(os, name)))


if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
    folder, stride = Path(sys.argv[1]), int(sys.argv[2])
    at_random(folder / "random", kills=50 // stride)
    print(*(at_every_call(folder, saved, stride) for saved in (3, 4)), "calls at most")
