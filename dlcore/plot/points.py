"""Points by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.plot.figure import COLORS, INK, MARKERS, label_axes, make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def scatter(
    maps: Mapping[str, Any],
    labels: Any,
    classes: Sequence[str],
    *,
    x: str = "",
    y: str = "",
    axes_shown: bool = False,
) -> Figure:
    """Maps side by side, {title: points [N, 2]}, of the same examples, by their labels [N]: each
    class has a colour, and its name in its middle.

    axes_shown: whether the numbers along the axes mean something, as in a code of two numbers.

    >>> figure = scatter({"Two points": [[0, 0], [1, 1]]}, [0, 1], ["a", "b"])
    """
    from matplotlib.patheffects import withStroke

    labels = np.asarray(labels)
    found = {title: np.asarray(points) for title, points in maps.items()}
    for title, points in found.items():
        if points.shape != (len(labels), 2):
            raise ValueError(
                f"scatter: {title!r} has points {list(points.shape)}, but one for each of the "
                f"labels is wanted: [{len(labels)}, 2]"
            )
    if not found:
        raise ValueError("scatter needs at least one map")
    figure, all_axes = make_figure(5.0 * len(found) + 0.8, 4.8, 1, len(found))
    for axes, (title, points) in zip(all_axes, found.items(), strict=True):
        for k, name in enumerate(classes):
            own = points[labels == k]
            axes.scatter(
                own[:, 0],
                own[:, 1],
                s=9,
                color=COLORS[k % len(COLORS)],
                marker=MARKERS[k % len(MARKERS)],
                alpha=0.6,
                linewidths=0,
                label=name,
            )
            if len(own):
                text = axes.annotate(name, np.median(own, axis=0), color=INK, ha="center")
                text.set_path_effects([withStroke(linewidth=3, foreground="white")])
        label_axes(axes, title, x, y)
        if not axes_shown:
            axes.set_xticks([])
            axes.set_yticks([])
    legend = all_axes[-1].legend(
        frameon=False, loc="upper left", bbox_to_anchor=(1, 1), labelcolor=INK, markerscale=2
    )
    for handle in filter(None, legend.legend_handles):
        handle.set_alpha(1)
    return figure
