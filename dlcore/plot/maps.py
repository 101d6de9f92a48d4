"""Maps of the plane: ways over a terrain, and what a network says everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.fields import documented
from dlcore.plot.figure import (
    COLORS,
    FRAMES_A_SECOND,
    INK,
    MARKERS,
    add_colorbar,
    label_axes,
    line_order,
    make_figure,
)

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@documented
class Terrain(NamedTuple):
    """A function of two numbers, from above, and ways over it.

    title: above the map.
    f: of points [..., 2], gives [...]; where it is not finite the map is grey, as outside of
        constraints.
    window: ((x from, x to), (y from, y to)).
    paths: name -> places [steps + 1, 2], the first of which lies on top.
    minima: places that are marked.
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
    title = figure.suptitle("step 0", color=INK, fontsize=10)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # settled once: it does not move from picture to picture

    def show(step: int) -> list[Any]:
        title.set_text(f"step {step}")
        for line, way in walks:
            _walk(line, way, step)
        return [title, *(line for line, _ in walks)]

    waiting = [steps[-1]] * (frames // 3)  # the last picture stays, before all begins again
    return FuncAnimation(
        figure, show, [*steps, *waiting], interval=1000 / FRAMES_A_SECOND, cache_frame_data=False
    )


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
    figure, (axes,) = make_figure(5.4, 4.8, 1, 1)
    draw = _surface if np.issubdtype(y.dtype, np.floating) else _regions
    draw(axes, (left, right, bottom, top), outputs, x, y.ravel())
    axes.set(xlim=(left, right), ylim=(bottom, top))
    label_axes(axes, "", "x₁", "x₂")
    return figure


def _map(terrains: Sequence[Terrain]) -> tuple[Figure, list[Axes]]:
    """The lines of equal height of each."""
    if not terrains:
        raise ValueError("a map needs at least one Terrain")
    figure, all_axes = make_figure(5.4 * len(terrains), 4.6, 1, len(terrains))
    for axes, terrain in zip(all_axes, terrains, strict=True):
        sides = [np.linspace(*side, 160) for side in terrain.window]
        grid = np.stack(np.meshgrid(*sides), axis=-1)
        heights = np.asarray(terrain.f(jnp.asarray(grid, jnp.float32)))
        levels = np.unique(np.nanquantile(heights, np.linspace(0, 1, 22)[1:-1]))
        axes.contour(*sides, heights, levels=levels, colors="#B5B5B5", linewidths=0.6)
        outside = ~np.isfinite(heights)
        if outside.any():
            axes.contourf(*sides, outside, levels=[0.5, 1.5], colors="#ECECEC")
            axes.contour(*sides, outside, levels=[0.5], colors=INK, linewidths=0.9)
        if len(terrain.minima):
            places = np.asarray(terrain.minima, float)
            cross: dict[str, Any] = {
                "color": INK,
                "markersize": 11,
                "markeredgewidth": 1.6,
                "zorder": 4,
            }
            axes.plot(*places.T, "+", **cross, label="minimum")
        for start in {tuple(np.asarray(way)[0].tolist()) for way in terrain.paths.values()}:
            axes.plot(*start, "o", color=INK, markersize=7, fillstyle="none", label="start")
        label_axes(axes, terrain.title, "x₁", "x₂")
        axes.set(xlim=terrain.window[0], ylim=terrain.window[1])
    return figure, all_axes


def _ways(axes: Axes, terrain: Terrain) -> list[Any]:
    """A line for each way, still without points, and their legend."""
    lines = [
        axes.plot([], [], color=COLORS[k % len(COLORS)], label=name, **line_order(k))[0]
        for k, name in enumerate(terrain.paths)
    ]
    for k, line in enumerate(lines):
        line.set(marker=MARKERS[k % len(MARKERS)], markersize=6, markeredgecolor="white")
    named = {text: line for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    if named:
        axes.legend(
            named.values(), named, frameon=True, framealpha=0.85, edgecolor="none", fontsize=8
        )
    return lines


def _walk(line: Any, way: Any, step: int) -> None:
    """The way until then, marked where it is."""
    way = np.asarray(way)[: step + 1]
    line.set_data(way[:, 0], way[:, 1])
    line.set_markevery([step])


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
        axes.contour(lead, levels=[0], extent=extent, colors=INK, linewidths=0.9)


def _tint(probabilities: np.ndarray) -> np.ndarray:
    """The colour of the most probable class in white: the whiter, the nearer to a mere guess."""
    classes = probabilities.shape[-1]
    sure = (probabilities.max(axis=-1, keepdims=True) - 1 / classes) / (1 - 1 / classes)
    color = np.array([_rgb(k) for k in range(classes)])[probabilities.argmax(axis=-1)]
    return 1 - (0.08 + 0.42 * sure) * (1 - color)


def _rgb(k: int) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(COLORS[k % len(COLORS)])


def _point(k: int) -> dict[str, Any]:
    marker = MARKERS[k % len(MARKERS)]
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
    add_colorbar(axes, image, "y: the surface predicted, the points given")
