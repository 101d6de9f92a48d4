"""Points with names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dlcore.plot.figure import COLORS, INK, MARKERS, label_axes, make_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE = 4.0  # of a point, in points of type
# Where a name may stand beside its point, in points of type, the best place first.
_PLACES: tuple[dict[str, Any], ...] = (
    {"xytext": (4, 0), "ha": "left", "va": "center"},
    {"xytext": (-4, 0), "ha": "right", "va": "center"},
    {"xytext": (0, 4), "ha": "center", "va": "bottom"},
    {"xytext": (0, -4), "ha": "center", "va": "top"},
)


def labelled(groups: Mapping[str, Mapping[str, tuple[float, float]]], *, title: str) -> Figure:
    """Points {group: {name: (x, y)}} with their names, as far as there is room for them.

    >>> figure = labelled({"colours": {"red": (0, 1), "blue": (1, 0)}}, title="Words")
    """
    if not any(groups.values()):
        raise ValueError("labelled needs at least one group with one point")
    figure, (axes,) = make_figure(9.0, 6.0, 1, 1)
    for k, (group, points) in enumerate(groups.items()):
        color, marker = COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)]
        xs, ys = zip(*points.values(), strict=True) if points else ((), ())
        axes.scatter(xs, ys, s=_SIZE**2, color=color, marker=marker, label=group)
    label_axes(axes, title, "", "")
    axes.margins(0.1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), labelcolor=INK)
    figure.draw_without_rendering()  # the layout settles, so that room can be measured
    taken = [_around(axes, place) for points in groups.values() for place in points.values()]
    for k, points in enumerate(groups.values()):
        for name, place in points.items():
            _write(axes, name, place, COLORS[k % len(COLORS)], taken)
    return figure


def _around(axes: Any, place: tuple[float, float]) -> Any:
    """The box in pixels that a point fills."""
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform(place)
    size = _SIZE * axes.figure.dpi / 72
    return Bbox.from_bounds(x - size / 2, y - size / 2, size, size)


def _write(axes: Any, name: str, place: tuple[float, float], color: str, taken: list[Any]) -> None:
    """Writes a name where it lies upon none of those `taken`, or nowhere."""
    for where in _PLACES:
        text = axes.annotate(
            name, place, textcoords="offset points", color=color, fontsize=8, **where
        )
        box = text.get_window_extent()
        inside = axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1)
        if inside and not any(box.padded(1).overlaps(other) for other in taken):
            taken.append(box)
            return
        text.remove()
