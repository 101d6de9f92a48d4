"""What all figures share: paper, ink and colours; and how they become files."""

from __future__ import annotations

import functools
import io
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcore import files

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From Okabe and Ito (2008), told apart under every common form of colour blindness. A marker says
# the same again, for print and for more classes than colours.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#555555")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
INK, FAINT = "#333333", "#D9D9D9"
FRAMES_A_SECOND = 12


def save(figure: Figure | FuncAnimation, path: str | Path) -> None:
    """Writes a figure as PNG, an animation as GIF.

    The same bytes for the same figure: no date, no version.
    """
    path, wanted = files.located(path), suffix(figure)
    if path.suffix.lower() != wanted:
        raise ValueError(
            f"save writes {wanted[1:].upper()}, got {path.name!r}: "
            f"save(figure, {path.stem + wanted!r})"
        )
    write: Callable[[Any], bytes] = png if wanted == ".png" else gif
    files.replace(path, write(figure))


def suffix(figure: Figure | FuncAnimation) -> str:
    """The ending of a file that `save` writes: ".png" of a figure, ".gif" of an animation."""
    return ".png" if hasattr(figure, "savefig") else ".gif"


def make_figure(width: float, height: float, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    """An empty figure of this size in inches, and its axes row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="compressed", facecolor="white")
    # A notebook asks an object for its picture; pyplot, which would teach it, stays out of this.
    figure._repr_png_ = functools.partial(png, figure)  # type: ignore[attr-defined]
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def png(figure: Figure) -> bytes:
    """The bytes of a PNG."""
    figure.draw_without_rendering()  # the layout settles in its second pass
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    return picture.getvalue()


def gif(animation: Any) -> bytes:
    """The bytes of a GIF."""
    from matplotlib.animation import PillowWriter

    with tempfile.TemporaryDirectory() as folder:  # the writer wants a name
        path = Path(folder) / "animation.gif"
        animation.save(path, writer=PillowWriter(fps=FRAMES_A_SECOND), dpi=110)
        return path.read_bytes()


def label_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and names; a long title takes several lines."""
    room = int(13 * axes.bbox.width / axes.figure.dpi)  # letters
    axes.set_title(textwrap.fill(title, room), loc="left", color=INK, fontsize=11)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def add_colorbar(axes: Axes, image: Any, label: str) -> Any:
    """The scale of an image's colours beside it."""
    bar = axes.figure.colorbar(image, ax=axes, aspect=24, pad=0.02)
    bar.set_label(label, color=INK)
    bar.ax.tick_params(colors=INK, labelsize=9)
    bar.outline.set_visible(False)
    return bar


def percent_text(share: float, digits: int = 0) -> str:
    """12 % of 0.12."""
    return f"{100 * float(share):.{digits}f} %"


def percent_ticks() -> Any:
    """Ticks of an axis of shares."""
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1.0, symbol=" %")


def add_grid(axes: Axes, percent: bool) -> None:
    """Faint lines behind everything, and ticks in percent for shares."""
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    if percent:
        axes.yaxis.set_major_formatter(percent_ticks())


def line_order(k: int) -> dict[str, Any]:
    """The first line lies on top, and every other reaches out from under those before it."""
    return {"linewidth": 1.3 + 0.6 * k, "zorder": 3 - 0.05 * k}
