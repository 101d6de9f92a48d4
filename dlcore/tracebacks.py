"""Tracebacks that show the user's code and what went wrong in it, and not the way through ours."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from types import TracebackType

import jax

_INNER = (
    str(Path(__file__).parent),
    str(Path(jax.__file__).parent),
    contextlib.__file__,
    functools.__file__,
)


class _Short(contextlib.ContextDecorator):
    """Takes the frames of dlcore and JAX out of an exception that leaves the block or function.

    What the message says of the place (a layer's path, a column, a step) stays. All frames are
    shown where JAX shows its own: JAX_TRACEBACK_FILTERING=off.
    """

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        # A loop that is left ends its generator with a GeneratorExit, which nobody is shown, and
        # does so at the latest when Python itself ends and `jax` may be gone.
        if error is None or isinstance(error, GeneratorExit):
            return
        if jax.config.jax_traceback_filtering != "off":
            error.__traceback__ = _outer(error.__traceback__)


short = _Short()


def _outer(traceback: TracebackType | None) -> TracebackType | None:
    if traceback is None:
        return None
    rest = _outer(traceback.tb_next)
    if traceback.tb_frame.f_code.co_filename.startswith(_INNER):
        return rest
    return TracebackType(rest, traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno)
