"""Convolutions as XLA hands them to oneDNN, the library of the CPU's fastest kernels: as volumes.

Where its option says so (`device.jit`), XLA gives oneDNN the convolutions that it does not compute
by YNNPACK, which is slower and takes images alone.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.window import Pair

_VOLUMES = ("NDHWC", "DHWIO", "NDHWC")
_LAST = (0, 4, 1, 2, 3)  # NDHWC, as its axes of batch, channels and space
_FEW = 8  # channels of y, for fewer of which the phases of a spread x are slower than its zeros

_is_there: contextvars.ContextVar[Callable[[], bool]] = contextvars.ContextVar("is_there")


@contextlib.contextmanager
def calls(is_there: Callable[[], bool]) -> Iterator[None]:
    """For what is lowered here: whether XLA will call oneDNN, asked at the first convolution.

    A volume takes XLA itself two to eight times as long as the image that it is.
    """
    token = _is_there.set(is_there)
    try:
        yield
    finally:
        _is_there.reset(token)


def takes_image(x: jax.Array, kernel: jax.Array, **how: Any) -> bool:
    """Whether this is one for `image`."""
    is_dense = how["lhs_dilation"] == (1, 1)
    out, _, *window = (kernel.shape[axis] for axis in how["dimension_numbers"].rhs_spec)
    is_spread = (
        how["window_strides"] == how["rhs_dilation"] == (1, 1)
        and min(window) >= max(how["lhs_dilation"])
        and out >= _FEW
    )
    return (is_dense or is_spread) and _takes(x)


def takes_gradient(x: jax.Array, **how: Any) -> bool:
    """Whether this is one for `across`."""
    is_padded = min(pad for pair in how["padding"] for pad in pair) >= 0
    return is_padded and how["lhs_dilation"] == (1, 1) and _takes(x)


def _takes(x: jax.Array) -> bool:
    """Whether oneDNN is given the convolutions of x."""
    return x.dtype in (jnp.float32, jnp.bfloat16, jnp.float16) and _is_there.get(lambda: False)()


def image(x: jax.Array, kernel: jax.Array, **how: Any) -> jax.Array:
    """The convolution of x [B, H, W, C] and kernel [h, w, in, out], with a depth of one.

    Milliseconds at batch 128, 3×3, and as an image (two cores, jax 0.12): 16 to 16 channels at
    32×32 3.5 and 6.0; 32 to 32 at 16×16 3.2 and 3.9; 64 to 64 at 8×8 2.7 and 3.4; 1 to 6, 5×5,
    28×28 0.9 and 1.0.
    """
    if how["lhs_dilation"] != (1, 1):
        return _by_phases(x, kernel, how["padding"], how["lhs_dilation"])
    return _dense(x, kernel, how["padding"], how["window_strides"], how["rhs_dilation"])


def _dense(
    x: jax.Array, kernel: jax.Array, padding: Any, stride: Pair = (1, 1), dilation: Pair = (1, 1)
) -> jax.Array:
    cut = [(min(low, 0), min(high, 0), 0) for low, high in padding]
    y = lax.conv_general_dilated(
        lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *cut, (0, 0, 0)])[:, None],
        kernel[None],
        (1, *stride),
        ((0, 0), *((max(low, 0), max(high, 0)) for low, high in padding)),
        rhs_dilation=(1, *dilation),
        dimension_numbers=_VOLUMES,
    )
    return y[:, 0]


def _by_phases(x: jax.Array, kernel: jax.Array, padding: Any, spread: Pair) -> jax.Array:
    """The convolution of x with zeros between its pixels, without them.

    s neighbours in y see a different s-th of the kernel's rows each, and the pixels of x alone. So
    they are s convolutions, whose results are put beside one another. Milliseconds, and as XLA's
    own, for 3×3 and s = 2 (two cores, jax 0.12): 32 to 16 channels, 16×16 to 32×32, batch 128 2.6
    and 9; 64 to 32 at half the size 2.4 and 2.5; 128 to 64, 28×28, batch 32 32 and 58; 512 to 256,
    7×7 20 and 23.
    """
    lengths, phases = zip(
        *(
            _phases(*one)
            for one in zip(x.shape[1:3], kernel.shape[:2], padding, spread, strict=True)
        ),
        strict=True,
    )
    rows = [
        jnp.stack([_dense(x, kernel[u][:, v], (above, beside)) for v, beside in phases[1]], axis=3)
        for u, above in phases[0]
    ]
    y = jnp.stack(rows, axis=2)  # [B, rows of a phase, phases, columns of a phase, phases, C]
    y = y.reshape(len(x), y.shape[1] * y.shape[2], y.shape[3] * y.shape[4], -1)
    return y[:, : lengths[0], : lengths[1]]


def _phases(size: int, window: int, padding: Pair, s: int) -> tuple[int, list[tuple[slice, Pair]]]:
    """The length of y along an axis; for its first s pixels what they see, and x's padding.

    Pixel t sees the kernel from `first` on, and there the pixel `start` of x.
    """
    low, high = padding
    length = s * (size - 1) + 1 + low + high - window + 1
    each, phases = -(-length // s), []
    for t in range(s):
        first = (low - t) % s
        start, seen = (t - low + first) // s, len(range(first, window, s))
        phases.append((slice(first, None, s), (-start, each - size + start + seen - 1)))
    return length, phases


def across(x: jax.Array, kernel: jax.Array, **how: Any) -> jax.Array:
    """The convolution in any order, where x's images are many and y's windows few.

    So in a kernel's gradient: x has the batch for channels, and an image for each channel; y is a
    kernel wide. oneDNN computes neighbours in a row of y together, of which there are few. So the
    images lie beside one another. The kernel keeps its order, since oneDNN brings it into its own.
    """
    (n, c, *space), kernel_axes, y_axes = how["dimension_numbers"]
    form = _in_a_row if how["window_strides"][1] == 1 else _side_by_side
    axes = [axis + 1 for axis in kernel_axes]
    y = form(x.transpose(*space, n, c), kernel[None], axes, **how)
    return jnp.moveaxis(y, (2, 3, 0, 1), y_axes)


def _in_a_row(x: jax.Array, kernel: jax.Array, axes: list[int], **how: Any) -> jax.Array:
    """[h, w, n, out] from x [H, W, n, C]: all pixels of all images form one row.

    The kernel's columns reach over as many pixels as there are images. Milliseconds, and as
    `_side_by_side`, for the gradients of 16, 32 and 64 channels (as in `image`): 6.8 and 7.5; 5.6
    and 6.3; 3.7 and 4.2.
    """
    images, (down, right) = x.shape[2], how["rhs_dilation"]
    rows, columns = how["padding"]
    y = lax.conv_general_dilated(
        x.reshape(1, 1, len(x), -1, x.shape[3]),
        kernel,
        (1, how["window_strides"][0], 1),
        ((0, 0), rows, (columns[0] * images, columns[1] * images)),
        rhs_dilation=(1, down, right * images),
        dimension_numbers=lax.ConvDimensionNumbers(_LAST, (*axes[:2], 0, *axes[2:]), _LAST),
    )
    return y.reshape(y.shape[2], -1, images, y.shape[4])


def _side_by_side(x: jax.Array, kernel: jax.Array, axes: list[int], **how: Any) -> jax.Array:
    """The same where y's columns are a stride apart: the images are a volume's third axis.

    (The stride of a gradient is the dilation of its convolution.)
    """
    y = lax.conv_general_dilated(
        x[None],
        kernel,
        (*how["window_strides"], 1),
        (*how["padding"], (0, 0)),
        rhs_dilation=(*how["rhs_dilation"], 1),
        dimension_numbers=lax.ConvDimensionNumbers(_LAST, (*axes, 0), _LAST),
    )
    return y[0]
