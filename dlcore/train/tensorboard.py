"""The numbers of a run as TensorBoard reads them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dlcore import files
from dlcore.train.fit import Record


@contextlib.contextmanager
def tensorboard(folder: str | Path) -> Iterator[Callable[[Record], None]]:
    """A callback for `run` that writes each record's numbers to `folder` by its step.

        with train.tensorboard("runs/digits/tensorboard") as write:
            train.run(step, state, data, epochs=10, validation=validation, callback=write)

    Those of training and of validation go to folders of these names, under the same tags, so that
    `tensorboard --logdir runs` draws them into one diagram. A run that is resumed writes the steps
    since its checkpoint once more, with the same numbers.

    Needs TensorBoard: pip install "dlcore[tensorboard]".
    """
    try:
        from tensorboard.summary import Writer
    except ImportError:
        raise ImportError(
            'train.tensorboard needs TensorBoard: pip install "dlcore[tensorboard]"'
        ) from None
    root = files.located(folder)
    with contextlib.ExitStack() as stack:
        training, validation = (
            stack.enter_context(contextlib.closing(Writer(str(root / name))))
            for name in ("training", "validation")
        )

        def write(record: Record) -> None:
            for writer, numbers in (
                (training, record.metrics),
                (validation, record.validation or {}),
            ):
                for name, value in numbers.items():
                    if np.ndim(value) == 0:
                        writer.add_scalar(name, float(value), record.step)

        yield write
