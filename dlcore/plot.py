"""Every figure. Each function returns a matplotlib Figure of its own, `animation` an animation.

No window opens and pyplot is never touched: a figure is shown by a notebook, where it is the last
line of a cell, or written by `save`.
"""

from __future__ import annotations

import functools
import io
import math
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import files

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From Okabe and Ito (2008), told apart under every common form of colour blindness. A marker says
# the same again, for print and for more classes than colours.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#555555")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
_TRAINING, _VALIDATION = _COLORS[:2]
_SHARES = (0, 0.01, 0.05, 0.2, 0.5, 1)  # the ticks of a square-root scale
_INK, _FAINT = "#333333", "#D9D9D9"
_FRAMES_A_SECOND = 12


def curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, and accuracy where there is one, by epoch, in training and validation.

    history: a dict for each epoch with "epoch" and, where measured, "loss", "accuracy",
        "validation_loss", "validation_accuracy".
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    if not history:
        raise ValueError("curves needs at least one epoch, got an empty history")
    measured = {name for row in history for name, value in row.items() if value is not None}
    panels = [name for name in ("loss", "accuracy") if measured & {name, f"validation_{name}"}]
    if not panels:
        raise ValueError(f'curves draws "loss" and "accuracy", the history has {sorted(measured)}')
    figure, all_axes = _figure(5.2 * len(panels), 3.8, 1, len(panels))
    for axes, name in zip(all_axes, panels, strict=True):
        _curve(axes, history, name, "training", _TRAINING, "-")
        _curve(axes, history, f"validation_{name}", "validation", _VALIDATION, "--")
        _label(axes, name.capitalize(), "epoch", name)
        axes.set_xlim(history[0]["epoch"] - 0.5, history[-1]["epoch"] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(color=_FAINT, linewidth=0.6)
        axes.legend(frameon=False)
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    return figure


class Panel(NamedTuple):
    """One diagram: its title, its axes, and what it shows.

    series: name -> (xs, ys), or (xs, ys, spread) with a band of ys ± spread; the first lies on top.
    log: which axes are logarithmic, "", "x", "y" or "xy". percent: ys are shares. lines: joined by
    a line, or points. level: a dashed line at this height, such as the figure expected, and its
    name.
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
    figure, all_axes = _figure(5.2 * columns, 3.8 * rows, rows, columns)
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(all_axes, panels, strict=False):
        _panel(axes, panel)
    return figure


class Terrain(NamedTuple):
    """A function of two numbers, from above, and ways over it.

    f: of points [..., 2], gives [...]; where it is not finite the map is grey, as outside of
    constraints. window: ((x from, x to), (y from, y to)). paths: name -> places [steps + 1, 2],
    the first of which lies on top. minima: places that are marked.
    """

    title: str
    f: Callable[[jax.Array], jax.Array]
    window: tuple[tuple[float, float], tuple[float, float]]
    paths: Mapping[str, Any] = {}
    minima: Sequence[tuple[float, float]] = ()


def contours(*terrains: Terrain) -> Figure:
    """Maps side by side: lines of equal height, as much of the map between any two, and the ways.

    >>> hill = Terrain("Hill", lambda x: -(x**2).sum(-1), ((-1.0, 1.0), (-1.0, 1.0)))
    >>> figure = contours(hill)
    """
    figure, all_axes = _map(terrains)
    for axes, terrain in zip(all_axes, terrains, strict=True):
        for line, way in zip(_ways(axes, terrain), terrain.paths.values(), strict=True):
            _walk(line, way, len(way) - 1)
    return figure


def animation(*terrains: Terrain, frames: int = 60) -> FuncAnimation:
    """`contours` where the ways are walked, step by step: `frames` pictures, the last of the end.

    All ways have as many steps, and each picture is as many of them on.
    """
    from matplotlib.animation import FuncAnimation

    lengths = {len(way) for terrain in terrains for way in terrain.paths.values()}
    if len(lengths) != 1 or frames < 2:
        raise ValueError(
            "animation needs paths of one length and at least 2 frames, "
            f"got lengths {sorted(lengths)} and {frames} frames"
        )
    steps = np.unique(np.linspace(0, lengths.pop() - 1, frames).round().astype(int)).tolist()
    figure, all_axes = _map(terrains)
    walks = [
        (line, way)
        for axes, terrain in zip(all_axes, terrains, strict=True)
        for line, way in zip(_ways(axes, terrain), terrain.paths.values(), strict=True)
    ]
    title = figure.suptitle("step 0", color=_INK, fontsize=10)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # settled once: it does not move from picture to picture

    def show(step: int) -> list[Any]:
        title.set_text(f"step {step}")
        for line, way in walks:
            _walk(line, way, step)
        return [title, *(line for line, _ in walks)]

    waiting = [steps[-1]] * (frames // 3)  # the last picture stays, before all begins again
    return FuncAnimation(
        figure, show, [*steps, *waiting], interval=1000 / _FRAMES_A_SECOND, cache_frame_data=False
    )


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
    figure, (axes,) = _figure(max(4.5, 1.2 + room + legend), 3.8, 1, 1)
    for k, name in enumerate(names):
        places = [i for i, group in enumerate(groups.values()) if name in group]
        heights = [float(group[name]) for group in groups.values() if name in group]
        shown = axes.bar(
            [i + (k - (len(names) - 1) / 2) * width for i in places],
            heights,
            0.92 * width,
            color=_COLORS[k % len(_COLORS)],
            label=name,
        )
        text = [_percent(height, 1) if percent else f"{height:.3g}" for height in heights]
        axes.bar_label(shown, text, fontsize=7, color=_INK, padding=1)
    slanted: dict[str, Any] = {"rotation": 30, "ha": "right"} if len(groups) > 6 else {}
    axes.set_xticks(range(len(groups)), list(groups), **slanted)
    _label(axes, title, "", y)
    _grid(axes, percent)
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
    figure, (axes,) = _figure(width, max(2.4, 1.5 + 0.42 * len(rows)), 1, 1)
    image = axes.imshow(table, cmap="Blues", aspect="auto")
    low, high = image.get_clim()
    for (i, j), value in np.ndenumerate(table):
        is_dark = value > (low + high) / 2
        text = "–" if np.isnan(value) else f"{100 * value:.1f}" if percent else f"{value:.3g}"
        ink = "white" if is_dark else _INK
        axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=8)
    bar = _colorbar(axes, image, label)
    if percent:
        bar.ax.yaxis.set_major_formatter(_percents())
    axes.set_xticks(range(len(columns)), [_tick(column) for column in columns])
    axes.set_yticks(range(len(rows)), [_tick(row) for row in rows])
    axes.tick_params(length=0)
    _label(axes, title, x, y)
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
    figure, (axes,) = _figure(size + 1.5, size, 1, 1)
    image = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    if len(classes) <= 30:
        _write_counts(axes, counts, share)
    bar = _colorbar(axes, image, "share of the true class")
    bar.set_ticks(_SHARES, labels=[_percent(share) for share in _SHARES])
    turned = 90 if max(map(len, classes)) > 3 else 0
    axes.set_xticks(range(len(classes)), classes, rotation=turned)
    axes.set_yticks(range(len(classes)), classes)
    axes.tick_params(length=0)
    right, total = int(np.trace(counts)), int(counts.sum())
    title = f"{right:,} of {total:,} right ({_percent(right / max(total, 1), 2)})"
    _label(axes, title, "predicted class", "true class")
    axes.spines[:].set_visible(False)
    return figure


def mistakes(
    images: Any,
    true: Any,
    predicted: Any,
    probabilities: Any,
    classes: Sequence[str],
    count: int = 25,
) -> Figure:
    """The worst mistakes: the images of which a wrong class was thought most probable.

    images: [N, H, W, C] or [N, H, W] in [0, 1]. true, predicted: labels [N].
    probabilities: [N, len(classes)].
    """
    images, true, predicted = np.asarray(images), np.asarray(true), np.asarray(predicted)
    probabilities = np.asarray(probabilities)
    n = len(images)
    if true.shape != (n,) or predicted.shape != (n,) or probabilities.shape != (n, len(classes)):
        raise ValueError(
            f"{n} images need labels [{n}] and probabilities [{n}, {len(classes)}], got "
            f"{list(true.shape)}, {list(predicted.shape)} and {list(probabilities.shape)}"
        )
    if count < 1:
        raise ValueError(f"count must be at least 1 image, got {count}")
    wrong = np.flatnonzero(true != predicted)
    if len(wrong) == 0:
        return _note(f"No mistakes in {n:,} examples.")
    confidence = probabilities[wrong, predicted[wrong]]
    worst = wrong[np.argsort(-confidence, kind="stable")][:count]
    captions = [
        f"said {classes[predicted[i]]} ({_percent(probabilities[i, predicted[i]])})\n"
        f"is {classes[true[i]]} ({_percent(probabilities[i, true[i]])})"
        for i in worst
    ]
    figure = image_grid(images[worst], captions)
    shown = f", the {len(worst)} most confident" if len(worst) < len(wrong) else ""
    plural = "mistake" if len(wrong) == 1 else "mistakes"
    figure.suptitle(f"{len(wrong):,} {plural} in {n:,} examples{shown}", color=_INK, fontsize=11)
    return figure


def image_grid(images: Any, captions: Sequence[str] = (), columns: int | None = None) -> Figure:
    """Images [N, H, W, C] or [N, H, W] in [0, 1] side by side, with a caption above each.

    columns: as many as make a square, by default.
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or len(images) == 0:
        raise ValueError(
            "image_grid draws images [N, H, W], [N, H, W, 1] or [N, H, W, 3], "
            f"got {list(images.shape)}"
        )
    if captions and len(captions) != len(images):
        raise ValueError(f"{len(images)} images need as many captions, got {len(captions)}")
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = math.ceil(len(images) / columns)
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    width, height = max(1.45 * columns, 3.6), (1.45 + 0.17 * lines) * rows + 0.3
    figure, all_axes = _figure(width, height, rows, columns)
    for axes in all_axes:
        axes.set_axis_off()
    for i, image in enumerate(images):
        all_axes[i].imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1)
        if captions:
            all_axes[i].set_title(captions[i], fontsize=8, color=_INK)
    return figure


def decision_boundary(
    layer: Any,
    params: Any,
    data: Mapping[str, Any],
    *,
    state: Any = (),
    resolution: int = 200,
) -> Figure:
    """What a layer says everywhere in the plane, under the points it is to learn.

    data: {"x": [N, 2], "y": [N]}. Where y holds integers the layer gives logits: one for each class
        (softmax), or a single one for class 1 against class 0 or −1 (sigmoid). The tint is the
        most probable class, the paler the less sure; the line is where the most probable changes.
        Where y is floating-point the layer gives a surface y = f(x₁, x₂), [N] or [N, 1].
    resolution: the grid is resolution × resolution.
    """
    x, y = np.asarray(data["x"]), np.asarray(data["y"])
    if x.ndim != 2 or x.shape[1] != 2 or y.size != len(x) or len(x) == 0:
        raise ValueError(
            f'decision_boundary draws {{"x": [N, 2], "y": [N]}}, got "x" {list(x.shape)} and '
            f'"y" {list(y.shape)}'
        )
    if resolution < 2:
        raise ValueError(f"resolution must be at least 2 points a side, got {resolution}")
    (left, right), (bottom, top) = map(_span, x.T)
    axis = np.linspace(0, 1, resolution)
    plane = np.meshgrid(left + (right - left) * axis, bottom + (top - bottom) * axis)
    grid = jnp.asarray(np.stack(plane, axis=-1).reshape(-1, 2), jnp.float32)
    outputs, _ = layer.apply(params, state, grid)
    outputs = jnp.asarray(outputs, jnp.float32).reshape(resolution, resolution, -1)
    figure, (axes,) = _figure(5.4, 4.8, 1, 1)
    draw = _surface if np.issubdtype(y.dtype, np.floating) else _regions
    draw(axes, (left, right, bottom, top), outputs, x, y.ravel())
    axes.set(xlim=(left, right), ylim=(bottom, top))
    _label(axes, "", "x₁", "x₂")
    return figure


def save(figure: Figure | FuncAnimation, path: str | Path) -> None:
    """Writes a figure as PNG, an animation as GIF.

    The same bytes for the same figure: no date, no version.
    """
    path, wanted = Path(path), suffix(figure)
    if path.suffix.lower() != wanted:
        raise ValueError(
            f"save writes {wanted[1:].upper()}, got {path.name!r}: "
            f"save(figure, {path.stem + wanted!r})"
        )
    write: Callable[[Any], bytes] = _png if wanted == ".png" else _gif
    files.replace(path, write(figure))


def suffix(figure: Figure | FuncAnimation) -> str:
    """The ending of a file that `save` writes: ".png" of a figure, ".gif" of an animation."""
    return ".png" if hasattr(figure, "savefig") else ".gif"


def _figure(width: float, height: float, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="compressed", facecolor="white")
    # A notebook asks an object for its picture; pyplot, which would teach it, stays out of this.
    figure._repr_png_ = functools.partial(_png, figure)  # type: ignore[attr-defined]
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _png(figure: Figure) -> bytes:
    figure.draw_without_rendering()  # the layout settles in its second pass
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    return picture.getvalue()


def _gif(animation: Any) -> bytes:
    from matplotlib.animation import PillowWriter

    with tempfile.TemporaryDirectory() as folder:  # the writer wants a name
        path = Path(folder) / "animation.gif"
        animation.save(path, writer=PillowWriter(fps=_FRAMES_A_SECOND), dpi=110)
        return path.read_bytes()


def _note(text: str) -> Figure:
    figure, (axes,) = _figure(4.0, 1.2, 1, 1)
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=_INK, fontsize=12)
    return figure


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    room = int(13 * axes.bbox.width / axes.figure.dpi)  # letters
    axes.set_title(textwrap.fill(title, room), loc="left", color=_INK, fontsize=11)
    axes.set_xlabel(x, color=_INK)
    axes.set_ylabel(y, color=_INK)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)


def _colorbar(axes: Axes, image: Any, label: str) -> Any:
    bar = axes.figure.colorbar(image, ax=axes, aspect=24, pad=0.02)
    bar.set_label(label, color=_INK)
    bar.ax.tick_params(colors=_INK, labelsize=9)
    bar.outline.set_visible(False)
    return bar


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * float(share):.{digits}f} %"


def _curve(
    axes: Axes, history: Sequence[Mapping[str, Any]], name: str, label: str, color: str, line: str
) -> None:
    rows = [row for row in history if row.get(name) is not None]
    if rows:
        epochs, values = [row["epoch"] for row in rows], [float(row[name]) for row in rows]
        mark = "o" if len(rows) <= 30 else None
        axes.plot(epochs, values, line, color=color, label=label, marker=mark, markersize=3.5)


def _panel(axes: Axes, panel: Panel) -> None:
    for k, (name, (xs, ys, *spread)) in enumerate(panel.series.items()):
        color, ys = _COLORS[k % len(_COLORS)], np.asarray(ys, float)
        mark = _MARKERS[k % len(_MARKERS)] if len(ys) <= 30 or not panel.lines else None
        style = "-" if panel.lines else "none"
        axes.plot(xs, ys, linestyle=style, color=color, label=name, marker=mark, **_order(k))
        if spread:
            band = np.asarray(spread[0], float)
            axes.fill_between(xs, ys - band, ys + band, color=color, alpha=0.18, linewidth=0)
    if panel.level is not None:
        name, height = panel.level
        axes.axhline(height, color=_INK, linestyle="--", linewidth=0.9, label=name)
    for axis in panel.log:
        axes.set(**{f"{axis}scale": "log"})
    measured = sorted({float(x) for xs, *_ in panel.series.values() for x in xs})
    texts = [f"{x:,.7g}" for x in measured]
    if "x" in panel.log and len(measured) <= 8 and _have_room(measured, texts):
        axes.set_xticks(measured, texts)  # the places themselves say more than powers of 10
        axes.minorticks_off()
    _label(axes, panel.title, panel.x, panel.y)
    _grid(axes, panel.percent)
    if len(panel.series) > 1 or panel.level is not None:
        axes.legend(frameon=False, fontsize=8)


def _have_room(places: list[float], texts: list[str]) -> bool:
    """Whether texts at these places of a logarithmic axis stay apart from one another."""
    steps = np.diff(np.log(places))
    return max(map(len, texts)) <= 9 and bool(np.all(steps >= 0.1 * steps.sum()))


def _map(terrains: Sequence[Terrain]) -> tuple[Figure, list[Axes]]:
    """The lines of equal height of each."""
    if not terrains:
        raise ValueError("a map needs at least one Terrain")
    figure, all_axes = _figure(5.4 * len(terrains), 4.6, 1, len(terrains))
    for axes, terrain in zip(all_axes, terrains, strict=True):
        sides = [np.linspace(*side, 160) for side in terrain.window]
        grid = np.stack(np.meshgrid(*sides), axis=-1)
        heights = np.asarray(terrain.f(jnp.asarray(grid, jnp.float32)))
        levels = np.unique(np.nanquantile(heights, np.linspace(0, 1, 22)[1:-1]))
        axes.contour(*sides, heights, levels=levels, colors="#B5B5B5", linewidths=0.6)
        outside = ~np.isfinite(heights)
        if outside.any():
            axes.contourf(*sides, outside, levels=[0.5, 1.5], colors="#ECECEC")
            axes.contour(*sides, outside, levels=[0.5], colors=_INK, linewidths=0.9)
        if len(terrain.minima):
            places = np.asarray(terrain.minima, float)
            cross: dict[str, Any] = {
                "color": _INK,
                "markersize": 11,
                "markeredgewidth": 1.6,
                "zorder": 4,
            }
            axes.plot(*places.T, "+", **cross, label="minimum")
        for start in {tuple(np.asarray(way)[0].tolist()) for way in terrain.paths.values()}:
            axes.plot(*start, "o", color=_INK, markersize=7, fillstyle="none", label="start")
        _label(axes, terrain.title, "x₁", "x₂")
        axes.set(xlim=terrain.window[0], ylim=terrain.window[1])
    return figure, all_axes


def _ways(axes: Axes, terrain: Terrain) -> list[Any]:
    """A line for each way, still without points, and their legend."""
    lines = [
        axes.plot([], [], color=_COLORS[k % len(_COLORS)], label=name, **_order(k))[0]
        for k, name in enumerate(terrain.paths)
    ]
    for k, line in enumerate(lines):
        line.set(marker=_MARKERS[k % len(_MARKERS)], markersize=6, markeredgecolor="white")
    named = {text: line for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    if named:
        axes.legend(
            named.values(), named, frameon=True, framealpha=0.85, edgecolor="none", fontsize=8
        )
    return lines


def _order(k: int) -> dict[str, Any]:
    """The first line lies on top, and every other reaches out from under those before it."""
    return {"linewidth": 1.3 + 0.6 * k, "zorder": 3 - 0.05 * k}


def _walk(line: Any, way: Any, step: int) -> None:
    """The way until then, marked where it is."""
    way = np.asarray(way)[: step + 1]
    line.set_data(way[:, 0], way[:, 1])
    line.set_markevery([step])


def _tick(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _percents() -> Any:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1.0, symbol=" %")


def _grid(axes: Axes, percent: bool) -> None:
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    if percent:
        axes.yaxis.set_major_formatter(_percents())


def _write_counts(axes: Axes, counts: np.ndarray, share: np.ndarray) -> None:
    for i, j in np.argwhere(counts):
        color = "white" if share[i, j] > 0.3 else _INK
        axes.text(j, i, f"{counts[i, j]:g}", ha="center", va="center", color=color, fontsize=8)


def _span(values: np.ndarray) -> tuple[float, float]:
    """The range of `values` and a margin about it."""
    low, high = float(values.min()), float(values.max())
    margin = 0.08 * (high - low) or 1.0
    return low - margin, high + margin


def _regions(axes: Axes, extent: Any, logits: jax.Array, x: np.ndarray, y: np.ndarray) -> None:
    if logits.shape[-1] == 1:
        logits = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
        labels = (y > 0).astype(int)
    else:
        labels = y
    probabilities = np.asarray(jax.nn.softmax(logits))
    classes = probabilities.shape[-1]
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"a layer of {classes} outputs needs labels in [0, {classes - 1}], "
            f"got [{labels.min()}, {labels.max()}]"
        )
    axes.imshow(_tint(probabilities), extent=extent, origin="lower", aspect="auto")
    for k in range(classes):
        _boundary(axes, extent, probabilities, k)
        if np.any(labels == k):
            label = f"y = {y[labels == k][0]}"
            axes.scatter(*x[labels == k].T, **_point(k), label=label)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def _boundary(axes: Axes, extent: Any, probabilities: np.ndarray, k: int) -> None:
    """The line where class k stops being the most probable, if there is one."""
    lead = probabilities[..., k] - np.delete(probabilities, k, axis=-1).max(axis=-1)
    if lead.min() < 0 < lead.max():
        axes.contour(lead, levels=[0], extent=extent, colors=_INK, linewidths=0.9)


def _tint(probabilities: np.ndarray) -> np.ndarray:
    """The colour of the most probable class in white: the whiter, the nearer to a mere guess."""
    classes = probabilities.shape[-1]
    sure = (probabilities.max(axis=-1, keepdims=True) - 1 / classes) / (1 - 1 / classes)
    color = np.array([_rgb(k) for k in range(classes)])[probabilities.argmax(axis=-1)]
    return 1 - (0.08 + 0.42 * sure) * (1 - color)


def _rgb(k: int) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(_COLORS[k % len(_COLORS)])


def _point(k: int) -> dict[str, Any]:
    marker = _MARKERS[k % len(_MARKERS)]
    return {"c": [_rgb(k)], "marker": marker, "s": 22, "edgecolors": "white", "linewidths": 0.6}


def _surface(axes: Axes, extent: Any, outputs: jax.Array, x: np.ndarray, y: np.ndarray) -> None:
    if outputs.shape[-1] != 1:
        raise ValueError(
            f"a surface needs a layer of one output, this one gives {outputs.shape[-1]}: for "
            "classes, give integer labels"
        )
    surface = np.asarray(outputs[..., 0])
    low, high = min(surface.min(), y.min()), max(surface.max(), y.max())
    image = axes.imshow(
        surface, extent=extent, origin="lower", aspect="auto", cmap="viridis", vmin=low, vmax=high
    )
    points = axes.scatter(x[:, 0], x[:, 1], c=y, s=28, edgecolors="white", linewidths=0.6)
    points.set(cmap="viridis", norm=image.norm)
    _colorbar(axes, image, "y: the surface predicted, the points given")
