"""Pictures side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.plot.figure import INK, make_figure, percent_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        f"said {classes[predicted[i]]} ({percent_text(probabilities[i, predicted[i]])})\n"
        f"is {classes[true[i]]} ({percent_text(probabilities[i, true[i]])})"
        for i in worst
    ]
    figure = image_grid(images[worst], captions)
    shown = f", the {len(worst)} most confident" if len(worst) < len(wrong) else ""
    plural = "mistake" if len(wrong) == 1 else "mistakes"
    figure.suptitle(f"{len(wrong):,} {plural} in {n:,} examples{shown}", color=INK, fontsize=11)
    return figure


def image_grid(images: Any, captions: Sequence[str] = (), columns: int | None = None) -> Figure:
    """Images [N, H, W, C] or [N, H, W] in [0, 1] side by side, with a caption above each.

    columns: as many as make a square, by default.
    """
    images = _images("image_grid", images)
    if captions and len(captions) != len(images):
        raise ValueError(f"{len(images)} images need as many captions, got {len(captions)}")
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = math.ceil(len(images) / columns)
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    width, height = max(1.45 * columns, 3.6), (1.45 + 0.17 * lines) * rows + 0.3
    figure, all_axes = make_figure(width, height, rows, columns)
    for axes in all_axes:
        axes.set_axis_off()
    for i, image in enumerate(images):
        all_axes[i].imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1)
        if captions:
            all_axes[i].set_title(captions[i], fontsize=8, color=INK)
    return figure


def _images(function: str, images: Any) -> np.ndarray:
    """Images [N, H, W, C]."""
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or len(images) == 0:
        raise ValueError(
            f"{function} draws images [N, H, W], [N, H, W, 1] or [N, H, W, 3], "
            f"got {list(images.shape)}"
        )
    return images


def mosaic(
    rows: Mapping[str, Any] | Any,
    columns: int | None = None,
    *,
    title: str = "",
    top: Sequence[str] = (),
) -> Figure:
    """Images as one picture: `{name: images}` with a named row for each, or images in a square.

    Images are [N, H, W, C] or [N, H, W] in [0, 1], of one size; a name's may take several rows of
    `columns`, by default all that there are. top: what stands above the columns.

    >>> figure = mosaic({"original": np.zeros((8, 28, 28)), "again": np.ones((8, 28, 28))})
    """
    if not isinstance(rows, Mapping):
        rows = {"": rows}
        columns = columns or math.ceil(math.sqrt(len(rows[""])))
    stacks = {name: _images("mosaic", images) for name, images in rows.items()}
    sizes = {stack.shape[1:] for stack in stacks.values()}
    if len(sizes) != 1:
        raise ValueError(f"mosaic needs images of one size, got {sorted(map(list, sizes))}")
    columns = columns or max(map(len, stacks.values()))
    lines = {name: math.ceil(len(stack) / columns) for name, stack in stacks.items()}
    height, width, _ = sizes.pop()
    tiles = np.concatenate([_tiled(stack, columns) for stack in stacks.values()])
    count = sum(lines.values())
    inches = min(0.62, 12 / columns, 14 / count)
    figure, (axes,) = make_figure(
        max(3.6, inches * columns + (1.6 if any(rows) else 0.4)),
        inches * height / width * count + (0.5 if title else 0.2) + (0.3 if top else 0),
        1,
        1,
    )
    axes.imshow(tiles, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    starts = np.cumsum([0, *lines.values()])[:-1]
    middles = [
        (at + count / 2) * (height + 1) for at, count in zip(starts, lines.values(), strict=True)
    ]
    axes.set_yticks(middles, [str(name) for name in rows])
    axes.set_xticks([(k + 0.5) * (width + 1) for k in range(len(top))], list(top))
    axes.xaxis.tick_top()
    axes.tick_params(length=0, colors=INK, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, loc="left", color=INK, fontsize=11)
    return figure


def _tiled(images: np.ndarray, columns: int) -> np.ndarray:
    """[N, H, W, C] as one image of rows of so many, a white line after each."""
    rows = math.ceil(len(images) / columns)
    count, height, width, channels = images.shape
    tiles = np.ones((rows * columns, height + 1, width + 1, channels), np.float32)
    tiles[:count, :height, :width] = np.clip(images, 0, 1)
    tiles = tiles.reshape(rows, columns, height + 1, width + 1, channels).swapaxes(1, 2)
    return tiles.reshape(rows * (height + 1), columns * (width + 1), channels)


def _note(text: str) -> Figure:
    figure, (axes,) = make_figure(4.0, 1.2, 1, 1)
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=INK, fontsize=12)
    return figure
