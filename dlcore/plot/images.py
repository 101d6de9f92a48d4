"""Pictures side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    figure, all_axes = make_figure(width, height, rows, columns)
    for axes in all_axes:
        axes.set_axis_off()
    for i, image in enumerate(images):
        all_axes[i].imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1)
        if captions:
            all_axes[i].set_title(captions[i], fontsize=8, color=INK)
    return figure


def _note(text: str) -> Figure:
    figure, (axes,) = make_figure(4.0, 1.2, 1, 1)
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=INK, fontsize=12)
    return figure
