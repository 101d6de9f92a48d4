"""LeNet-5, as it was published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import functional as F
from dlcore import keys, nn
from dlcore.functional.broadcast import broadcast
from dlcore.keys import Key
from dlcore.models._inputs import image
from dlcore.models._model import model
from dlcore.nn.init import normal
from dlcore.nn.layer import check_sizes

# Table I: which of the six maps of S2 (rows) each of the sixteen maps of C3 (columns) sees.
CONNECTIONS = """
    #...###..####.##
    ##...###..####.#
    ###...###..#.###
    .###..####..#.##
    ..###..####.##.#
    ...###..####.###
"""

# The centers of the output: each digit as 7×12 pixels, +1 where it is black, −1 elsewhere.
BITMAPS = """
    .#####. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
    ##...## ..###.. ##...## ##...## ...###. ##..... .##.... .....## ##...## ##...##
    ##...## .####.. .....## .....## ..####. ##..... ##..... .....## ##...## ##...##
    ##...## ...##.. .....## .....## ..#.##. ##..... ##..... ....##. ##...## ##...##
    ##...## ...##.. .....## .....## .##.##. ##..... ##..... ....##. ##...## ##...##
    ##...## ...##.. ....##. ..####. .#..##. ######. ######. ....##. .#####. .######
    ##...## ...##.. ...##.. ..####. ##..##. .....## ##...## ...##.. .#####. ..#####
    ##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
    ##...## ...##.. .##.... .....## ####### .....## ##...## ...##.. ##...## .....##
    ##...## ...##.. ##..... .....## ....##. .....## ##...## ..##... ##...## .....##
    ##...## ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
    .#####. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
"""


@model
def lenet5_1998(inputs: Sequence[int] = (28, 28, 1), classes: int = 10) -> nn.Layer:
    """The network of LeCun et al. 1998, section II.B, for images [B, *inputs] of digits.

    |     | layer                                    | 32×32×1  | parameters |
    |-----|------------------------------------------|----------|------------|
    | C1  | conv 6 @ 5×5                             | 28×28×6  |        156 |
    | S2  | subsample 2×2                            | 14×14×6  |         12 |
    | C3  | conv 16 @ 5×5 by the table `CONNECTIONS` | 10×10×16 |      1,516 |
    | S4  | subsample 2×2                            | 5×5×16   |         32 |
    | C5  | conv 120 @ 5×5                           | 1×1×120  |     48,120 |
    | F6  | linear 84                                | 84       |     10,164 |
    | RBF | squared distance to `BITMAPS`            | 10       |            |

    60,000 trainable parameters. After each layer but the last the activation is `squash`. An image
    of 28×28 is padded to 32×32 with the pixels of its edge, one of 32×32 is taken as it is.
    `classes` is at most 10, one for each bitmap.

    The logits are the negative distances of F6 to the bitmaps, −yᵢ of equation 7: their
    cross-entropy is equation 9, y_D + log(e⁻ʲ + Σᵢ e⁻ʸⁱ), without the rubbish class, j → ∞.
    Departures: the bitmaps are drawn anew, in the size and spirit of the paper's figure 3; kernels
    start at σ = 1/√N_in (`lecun_normal`, the same year's advice for this activation), not in
    U(±2.4/N_in), and so do the scales of subsampling: N_in = 4.

    Raises ValueError for images of another size and for more than 10 classes.
    """
    height, width, channels = image("lenet5_1998", inputs, 28)
    if not height == width in (28, 32):
        raise ValueError(f"lenet5_1998 takes images of 28×28 or 32×32, got inputs={inputs!r}")
    check_sizes("lenet5_1998", classes=classes)
    if classes > 10:
        raise ValueError(f"lenet5_1998 has bitmaps for 10 classes, got classes={classes!r}")
    margin = (32 - height) // 2
    return nn.serial(
        nn.named("c1", nn.conv(channels, 6, 5, padding=margin, padding_mode="edge")),
        squash,
        nn.named("s2", subsample(6)),
        squash,
        nn.named("c3", partial_conv(CONNECTIONS, 5)),
        squash,
        nn.named("s4", subsample(16)),
        squash,
        nn.named("c5", nn.conv(16, 120, 5)),
        squash,
        nn.flatten,
        nn.named("f6", nn.linear(120, 84)),
        squash,
        nn.named("rbf", bitmap_distance(classes)),
    )


def squash(x: jax.Array) -> jax.Array:
    """f(x) = 1.7159·tanh(2x/3), which has f(±1) = ±1. Appendix A."""
    return 1.7159 * F.tanh(2 / 3 * x)


def subsample(channels: int) -> nn.Layer:
    """y = scale · (the sum of each window of 2×2) + offset, for x [B, H, W, channels]."""

    def init(key: Key) -> tuple[Any, Any]:
        scale, offset = (jnp.full(channels, value, jnp.float32) for value in (1 / 2, 0))
        return {"scale": scale, "offset": offset}, ()

    def apply(
        params: Any, state: Any, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, Any]:
        y = 4 * F.avg_pool(x, 2)
        return broadcast(params["scale"], y) * y + broadcast(params["offset"], y), state

    return nn.make("subsample", init, apply, channels=channels)


def partial_conv(connections: str, kernel_size: int) -> nn.Layer:
    """A convolution of which only the marked pairs (row: map in, column: map out) exist.

    kernel [h, w, pairs], row by row, bias [maps out]. To convolve, the pairs are put into the
    kernel [h, w, maps in, maps out] of zeros, which have no parameters and no gradient.
    """
    marked = np.array([list(row) for row in connections.split()]) == "#"
    pairs = np.nonzero(marked)
    shape = (kernel_size, kernel_size, *marked.shape)

    def init(key: Key) -> tuple[Any, Any]:
        deviations = 1 / np.sqrt(kernel_size**2 * marked.sum(0, dtype=np.float32))
        drawn = normal(1.0)(keys.child(key, "kernel"), shape) * deviations
        return {"kernel": drawn[:, :, *pairs], "bias": jnp.zeros(shape[-1], jnp.float32)}, ()

    def apply(
        params: Any, state: Any, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, Any]:
        zeros = jnp.zeros(shape, params["kernel"].dtype)
        y = F.conv(x, zeros.at[:, :, *pairs].set(params["kernel"]))
        return y + broadcast(params["bias"], y), state

    return nn.make("partial_conv", init, apply, pairs=len(pairs[0]), kernel_size=kernel_size)


def bitmap_distance(classes: int) -> nn.Layer:
    """yᵢ = −Σⱼ (xⱼ − bitmapᵢⱼ)² for x [B, 84] and the first `classes` of `BITMAPS`; fixed."""
    rows = np.array([[list(digit) for digit in row.split()] for row in BITMAPS.split("\n")[1:-1]])
    bitmaps = np.where(rows == "#", 1.0, -1.0).swapaxes(0, 1).reshape(10, 84)[:classes]
    return nn.from_function(lambda x: -F.rbf_squared_distance(x, bitmaps), "bitmap_distance")
