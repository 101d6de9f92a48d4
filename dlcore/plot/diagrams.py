"""Diagrams with axes: curves, lines, bars, tables of colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dlcore.fields import documented
from dlcore.plot.figure import (
    COLORS,
    INK,
    MARKERS,
    add_colorbar,
    add_grid,
    label_axes,
    line_order,
    make_figure,
    percent_text,
    percent_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TRAINING, _VALIDATION = COLORS[:2]
_SHARES = (0, 0.01, 0.05, 0.2, 0.5, 1)  # the ticks of a square-root scale


def curves(history: Sequence[Mapping[str, Any]], *, smoothing: float = 0.0) -> Figure:
    """Loss, and accuracy where there is one, by epoch, in training and validation.

    history: a dict for each epoch with "epoch" and, where measured, "loss", "accuracy",
        "validation_loss", "validation_accuracy".
    smoothing: the label smoothing that the loss of training, and that one alone, was measured with,
        which the legend then says.
    """
    from matplotlib.ticker import MaxNLocator

    if not history:
        raise ValueError("curves needs at least one epoch, got an empty history")
    measured = {name for row in history for name, value in row.items() if value is not None}
    panels = [name for name in ("loss", "accuracy") if measured & {name, f"validation_{name}"}]
    if not panels:
        raise ValueError(f'curves draws "loss" and "accuracy", the history has {sorted(measured)}')
    figure, all_axes = make_figure(5.2 * len(panels), 3.8, 1, len(panels))
    for axes, name in zip(all_axes, panels, strict=True):
        smoothed = f", labels smoothed by {smoothing:g}" if smoothing and name == "loss" else ""
        _curve(axes, history, name, f"training{smoothed}", _TRAINING, "-")
        _curve(axes, history, f"validation_{name}", "validation", _VALIDATION, "--")
        label_axes(axes, name.capitalize(), "epoch", name)
        axes.set_xlim(history[0]["epoch"] - 0.5, history[-1]["epoch"] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        add_grid(axes, percent=name == "accuracy")
        axes.legend(frameon=False)
    return figure


@documented
class Panel(NamedTuple):
    """One diagram: its title, its axes, and what it shows.

    title: above the diagram.
    x, y: what the axis is called.
    series: name -> (xs, ys), or (xs, ys, spread) with a band of ys ± spread; the first lies on top.
    log: which axes are logarithmic, "", "x", "y" or "xy".
    percent: whether ys are shares.
    lines: whether points are joined by a line.
    level: a dashed line at this height, such as the figure expected, and its name.
    """

    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[Any]]
    log: str = ""
    percent: bool = False
    lines: bool = True
    level: tuple[str, float] | None = None


def lines(*panels: Panel) -> Figure:
    """Diagrams side by side, each with a line for each of its series.

    >>> loss = {"Adam": ([1, 2, 3], [0.9, 0.5, 0.3]), "SGD": ([1, 2, 3], [1.0, 0.8, 0.7])}
    >>> figure = lines(Panel("Loss", "epoch", "cross-entropy", loss, log="y"))
    """
    if not panels:
        raise ValueError("lines needs at least one Panel")
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    figure, all_axes = make_figure(5.2 * columns, 3.8 * rows, rows, columns)
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(all_axes, panels, strict=False):
        _panel(axes, panel)
    return figure


def bars(
    groups: Mapping[str, Mapping[str, float]], *, title: str, y: str, percent: bool = False
) -> Figure:
    """Bars in groups, `{group: {name: height}}`, with the height above each."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    if not names:
        raise ValueError("bars needs at least one group with one bar")
    width = 0.8 / len(names)
    legend = 0.5 + 0.08 * max(map(len, names)) if len(names) > 1 else 0.0
    room = 0.62 * max(len(names), 1.6) * len(groups)  # for the numbers above the bars
    figure, (axes,) = make_figure(max(4.5, 1.2 + room + legend), 3.8, 1, 1)
    for k, name in enumerate(names):
        places = [i for i, group in enumerate(groups.values()) if name in group]
        heights = [float(group[name]) for group in groups.values() if name in group]
        shown = axes.bar(
            [i + (k - (len(names) - 1) / 2) * width for i in places],
            heights,
            0.92 * width,
            color=COLORS[k % len(COLORS)],
            label=name,
        )
        text = [percent_text(height, 1) if percent else f"{height:.3g}" for height in heights]
        axes.bar_label(shown, text, fontsize=7, color=INK, padding=1)
    slanted: dict[str, Any] = {"rotation": 30, "ha": "right"} if len(groups) > 6 else {}
    axes.set_xticks(range(len(groups)), list(groups), **slanted)
    label_axes(axes, title, "", y)
    add_grid(axes, percent)
    if len(names) > 1:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def heat_map(
    values: Any,
    rows: Sequence[Any],
    columns: Sequence[Any],
    *,
    title: str,
    x: str,
    y: str,
    label: str,
    percent: bool = False,
) -> Figure:
    """A table of `values` [rows, columns] as colours with the numbers in them; NaN is a "–".

    As of a sweep: `heat_map(swept.means(…)[2], …)`. `x` names the columns, `y` the rows.
    """
    table = np.asarray(values, float)
    if table.shape != (len(rows), len(columns)) or not np.isfinite(table).any():
        raise ValueError(
            f"a heat map of {len(rows)} rows and {len(columns)} columns needs finite values "
            f"[{len(rows)}, {len(columns)}], got {list(table.shape)}"
        )
    width = max(4.0, 2.4 + 0.72 * len(columns))
    figure, (axes,) = make_figure(width, max(2.4, 1.5 + 0.42 * len(rows)), 1, 1)
    image = axes.imshow(table, cmap="Blues", aspect="auto")
    low, high = image.get_clim()
    for (i, j), value in np.ndenumerate(table):
        is_dark = value > (low + high) / 2
        text = "–" if np.isnan(value) else f"{100 * value:.1f}" if percent else f"{value:.3g}"
        ink = "white" if is_dark else INK
        axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=8)
    bar = add_colorbar(axes, image, label)
    if percent:
        bar.ax.yaxis.set_major_formatter(percent_ticks())
    axes.set_xticks(range(len(columns)), [_tick(column) for column in columns])
    axes.set_yticks(range(len(rows)), [_tick(row) for row in rows])
    axes.tick_params(length=0)
    label_axes(axes, title, x, y)
    axes.spines[:].set_visible(False)
    return figure


def confusion(matrix: Any, classes: Sequence[str]) -> Figure:
    """A confusion matrix: counts, rows the true class, columns the predicted one.

    The colour is the share of the true class, so that rare classes count as much as frequent ones,
    on a square-root scale, so that rare mistakes are seen.
    """
    from matplotlib.colors import PowerNorm

    counts = np.asarray(matrix)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f"a confusion matrix of {len(classes)} classes is "
            f"[{len(classes)}, {len(classes)}], got {list(counts.shape)}"
        )
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.4 + 0.42 * min(len(classes), 30)
    figure, (axes,) = make_figure(size + 1.5, size, 1, 1)
    image = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    if len(classes) <= 30:
        _write_counts(axes, counts, share)
    bar = add_colorbar(axes, image, "share of the true class")
    bar.set_ticks(_SHARES, labels=[percent_text(share) for share in _SHARES])
    turned = 90 if max(map(len, classes)) > 3 else 0
    axes.set_xticks(range(len(classes)), classes, rotation=turned)
    axes.set_yticks(range(len(classes)), classes)
    axes.tick_params(length=0)
    right, total = int(np.trace(counts)), int(counts.sum())
    title = f"{right:,} of {total:,} right ({percent_text(right / max(total, 1), 2)})"
    label_axes(axes, title, "predicted class", "true class")
    axes.spines[:].set_visible(False)
    return figure


def _curve(
    axes: Axes, history: Sequence[Mapping[str, Any]], name: str, label: str, color: str, line: str
) -> None:
    rows = [row for row in history if row.get(name) is not None]
    if rows:
        epochs, values = [row["epoch"] for row in rows], [float(row[name]) for row in rows]
        mark = "o" if len(rows) <= 30 else None
        axes.plot(epochs, values, line, color=color, label=label, marker=mark, markersize=3.5)


def _panel(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    for k, (name, (xs, ys, *spread)) in enumerate(panel.series.items()):
        color, ys = COLORS[k % len(COLORS)], np.asarray(ys, float)
        mark = MARKERS[k % len(MARKERS)] if len(ys) <= 30 or not panel.lines else None
        style = "-" if panel.lines else "none"
        axes.plot(xs, ys, linestyle=style, color=color, label=name, marker=mark, **line_order(k))
        if spread:
            band = np.asarray(spread[0], float)
            axes.fill_between(xs, ys - band, ys + band, color=color, alpha=0.18, linewidth=0)
    if panel.level is not None:
        name, height = panel.level
        axes.axhline(height, color=INK, linestyle="--", linewidth=0.9, label=name)
    for axis in panel.log:
        axes.set(**{f"{axis}scale": "log"})
    measured = sorted({float(x) for xs, *_ in panel.series.values() for x in xs})
    texts = [f"{x:,.7g}" for x in measured]
    if "x" in panel.log and len(measured) <= 8 and _have_room(measured, texts):
        axes.set_xticks(measured, texts)  # the places themselves say more than powers of 10
        axes.minorticks_off()
    elif "x" in panel.log and measured[-1] < 10 * measured[0]:  # powers of 10 would say too little
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif "x" not in panel.log and all(place.is_integer() for place in measured):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    label_axes(axes, panel.title, panel.x, panel.y)
    add_grid(axes, panel.percent)
    if len(panel.series) > 1 or panel.level is not None:
        _legend(axes)


def _legend(axes: Axes) -> None:
    """Where it covers least; beside the lines where there are so many that it must cover some."""
    beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
    many = len(axes.get_legend_handles_labels()[1]) > 6
    axes.legend(framealpha=0.85, edgecolor="none", fontsize=8, **beside if many else {})


def _have_room(places: list[float], texts: list[str]) -> bool:
    """Whether texts at these places of a logarithmic axis stay apart from one another."""
    steps = np.diff(np.log(places))
    return max(map(len, texts)) <= 9 and bool(np.all(steps >= 0.1 * steps.sum()))


def _write_counts(axes: Axes, counts: np.ndarray, share: np.ndarray) -> None:
    for i, j in np.argwhere(counts):
        color = "white" if share[i, j] > 0.3 else INK
        axes.text(j, i, f"{counts[i, j]:g}", ha="center", va="center", color=color, fontsize=8)


def _tick(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
