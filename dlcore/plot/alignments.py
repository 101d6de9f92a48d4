"""The weights of attention, as a picture of what was looked at while writing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dlcore.fields import documented
from dlcore.plot.figure import label_axes, make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@documented
class Alignment(NamedTuple):
    """A sequence that was written, and where in another one each of its steps looked.

    weights: [T, S], of a step (row) and what was read (column).
    read: what was read, S texts, shown below.
    written: what was written, T texts, shown at the side.
    """

    weights: Any
    read: Sequence[str]
    written: Sequence[str]


def alignments(*pictures: Alignment, title: str, x: str, y: str, columns: int = 3) -> Figure:
    """A map for each alignment, white where the weight is 0 and dark where it is 1.

    x, y: what is read, and what is written. Bahdanau et al. 2015, figure 3.
    """
    for picture in pictures:
        shape = np.shape(picture.weights)
        if shape != (len(picture.written), len(picture.read)):
            raise ValueError(
                f"alignments: weights {shape} of {len(picture.written)} written and "
                f"{len(picture.read)} read: [T, S] is wanted"
            )
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    figure, places = make_figure(2.9 * columns, 2.9 * rows + 0.3, rows, columns)
    for axes, picture in zip(places, pictures, strict=False):
        axes.imshow(np.asarray(picture.weights, float), cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(picture.read)), picture.read)
        axes.set_yticks(range(len(picture.written)), picture.written)
        axes.tick_params(length=0)
        label_axes(axes, "", x, y)
    for axes in places[len(pictures) :]:
        axes.set_axis_off()
    figure.suptitle(title)
    return figure
