"""ViT: a transformer on the patches of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import keys, nn
from dlcore.checks import one_of
from dlcore.functional.broadcast import broadcast
from dlcore.keys import Key
from dlcore.models import _transformer
from dlcore.models._inputs import image
from dlcore.models._model import model
from dlcore.nn.describing import describe
from dlcore.nn.init import normal, xavier_uniform, zeros

SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}  # features and heads
BLOCKS = 12
EPS = 1e-6  # of layer norm, as in the paper's code


@model
def vit(
    size: str = "base",
    inputs: Sequence[int] = (224, 224, 3),
    classes: int = 1000,
    *,
    patch: int = 16,
    scan: bool | None = None,
) -> nn.Layer:
    """Twelve transformer blocks on patches, for images [B, *inputs].

    | part        | 224×224×3 | of size base                              | parameters |
    |-------------|-----------|-------------------------------------------|------------|
    | patches     | 196×768   | conv 768 @ 16×16, stride 16               |    590,592 |
    | class_token | 197×768   | one learned vector before the patches     |        768 |
    | position    | 197×768   | one learned vector added to each          |    151,296 |
    | blocks      | 197×768   | 12 blocks                                 | 85,054,464 |
    | norm, head  | 1000      | layer norm, the first vector, linear      |    770,536 |

    86,567,656 parameters. Dosovitskiy et al. 2021, table 1 and equations 1 to 4. A block is
    x + attention(norm(x)), then x + mlp(norm(x)), where mlp is linear, gelu, linear, and 4 times as
    wide between. "tiny" (192 features, 3 heads) and "small" (384, 6) are those of Touvron et al.
    2021 (DeiT), table 1: 5,717,416 and 22,050,664 parameters. As in the paper's code the head
    starts as 0, the class token too, positions as N(0, 0.02²), attention and mlp as Xavier's
    uniform. Departure: no dropout, as in torchvision.

    How the blocks run, `scan` says as in `nn.repeat`; the parameters are the same.

    Raises ValueError for another size and for images that patches do not divide.
    """
    height, width, channels = image("vit", inputs, 1)
    features, heads = one_of("vit", "size", size, SIZES)
    if patch < 1 or height % patch or width % patch:
        raise ValueError(
            f"vit needs an image that patches divide, got inputs={inputs!r}, patch={patch!r}"
        )
    length = 1 + (height // patch) * (width // patch)
    return nn.serial(
        nn.named("patches", nn.conv(channels, features, patch, stride=patch)),
        as_sequence,
        nn.named("class_token", class_token(features)),
        nn.named("position", patch_position(length, features)),
        nn.named("blocks", nn.repeat(block(features, heads), BLOCKS, scan=scan)),
        nn.named("norm", nn.layer_norm(features, eps=EPS)),
        first,
        nn.named("head", nn.linear(features, classes, kernel_init=zeros)),
    )


def block(features: int, heads: int) -> nn.Layer:
    """Attention between patches, then a perceptron on each; equations 2 and 3."""
    attention = nn.attention(features, heads, kernel_init=xavier_uniform())
    return _transformer.block(
        features, attention, eps=EPS, kernel_init=xavier_uniform(), bias_init=normal(1e-6)
    )


def as_sequence(x: jax.Array) -> jax.Array:
    """[B, H, W, D] → [B, H · W, D], row by row."""
    return x.reshape(x.shape[0], -1, x.shape[-1])


def first(x: jax.Array) -> jax.Array:
    """What the class token has become: [B, T, D] → [B, D]."""
    return x[:, 0]


def class_token(features: int) -> nn.Layer:
    """y = (embedding, x₁, …, x_N), for x [B, N, features] and a learned embedding [features]."""

    def init(key: Key) -> tuple[Any, Any]:
        return {"embedding": jnp.zeros(features)}, ()

    def apply(
        params: Any, state: Any, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, Any]:
        token = broadcast(params["embedding"], x[:, :1])
        return jnp.concatenate([token, x], axis=1), state

    return nn.make("class_token", init, apply, features=features)


def patch_position(length: int, features: int) -> nn.Layer:
    """y = x + embedding, for x [B, length, features] and a learned embedding [length, features]."""
    shape = (length, features)

    def init(key: Key) -> tuple[Any, Any]:
        return {"embedding": normal(0.02)(keys.child(key, "embedding"), shape)}, ()

    def apply(
        params: Any, state: Any, x: jax.Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, Any]:
        if x.shape[1:] != shape:
            raise ValueError(
                f"patch_position expected [B, {length}, {features}], got {describe(x)}"
            )
        return x + broadcast(params["embedding"], x), state

    return nn.make("patch_position", init, apply, length=length, features=features)
