"""What a person would see at once: text that leaves its picture, and text upon text."""

from __future__ import annotations

import itertools
from unittest import mock

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

SLACK = 1.0  # pixels: letters do not fill the box around them


def faults(figure):
    """A line for each text of a figure that is cut off, and for each pair that overlap."""
    texts = drawn(figure)
    width, height = figure.canvas.get_width_height()
    found = [
        f"{text!r} is cut off"
        for text, box in texts
        if box.vertices.min() < -SLACK or np.any(box.vertices.max(0) > (width + 1, height + 1))
    ]
    return found + [
        f"{one!r} lies upon {other!r}"
        for (one, box), (other, another) in itertools.combinations(texts, 2)
        if box.intersects_path(another, filled=True)
    ]


def drawn(figure):
    """Every text that is really drawn, with the rectangle around it in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)  # the layout settles in its second pass
    texts = []

    def draw(text, renderer, *_, **__):
        if text.get_visible() and text.get_text().strip():
            texts.append(text)

    with mock.patch.object(Text, "draw", draw):
        figure.draw(renderer)
    return [(text.get_text(), rectangle(text, renderer)) for text in texts]


def rectangle(text, renderer):
    """Turned as the text is, and smaller by SLACK on every side."""
    box, angle = text.get_window_extent(renderer), text.get_rotation()
    middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    width, height = box.width, box.height
    if angle % 90:
        width, height, _ = renderer.get_text_width_height_descent(
            text.get_text(), text.get_fontproperties(), ismath=False
        )
    half = np.maximum([width / 2 - SLACK, height / 2 - SLACK], 0.1)
    corners = half * [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    turn = Affine2D().rotate_deg(angle if angle % 90 else 0).translate(*middle)
    return Path(turn.transform(corners))
