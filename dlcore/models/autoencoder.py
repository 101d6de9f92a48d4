"""Autoencoders: an encoder to a code, and a decoder back to what it came from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlcore import functional as F
from dlcore import nn
from dlcore.keys import Key
from dlcore.models._dense import check_widths, dense, taking
from dlcore.models._inputs import image
from dlcore.models._model import model
from dlcore.models.linear import size
from dlcore.nn.init import he_normal
from dlcore.nn.layer import Params, State, check_sizes


@model
def autoencoder(
    inputs: int | Sequence[int] = (28, 28, 1),
    hidden: Sequence[int] = (256,),
    code: int = 32,
    *,
    activation: Callable[[Any], Any] | nn.Layer = F.relu,
    code_activation: Callable[[Any], Any] | nn.Layer = F.identity,
    tied: bool = False,
) -> nn.Layer:
    """x [B, *inputs] → code [B, code] → numbers of x's shape, by linear layers.

    | part    | layers, by default                              | outputs     | parameters |
    |---------|-------------------------------------------------|-------------|------------|
    | encoder | flatten, linear 256, relu, linear 32            | 32          |    209,184 |
    | decoder | linear 256, relu, linear 784, in the shape of x | 28 × 28 × 1 |    209,936 |

    419,120 parameters. The decoder mirrors the encoder. What it gives are the numbers themselves,
    for `train.reconstruction(layer)`, or logits of pixels in [0, 1], for
    `train.reconstruction(layer, loss=functional.binary_cross_entropy)`.

    hidden: the widths between x and the code; with () and no activation the network is linear, and
        its code spans PCA's subspace (Baldi and Hornik 1989).
    code_activation: of the code, such as `functional.sigmoid` where its sparsity is asked for.
    tied: whether the decoder's kernels are the encoder's, transposed; it then has biases alone, and
        reads the kernels as a side input (Vincent et al. 2010, section 2.2).

    Hinton and Salakhutdinov 2006.
    """
    check_widths("autoencoder", hidden=hidden)
    check_sizes("autoencoder", code=code)
    widths = [size(inputs), *hidden, code]
    encoder = nn.serial(
        nn.flatten,
        *dense(widths[:-1], activation, kernel_init=he_normal()),
        nn.linear(*widths[-2:]),
        code_activation,
    )
    back = widths[::-1]
    if tied:
        if isinstance(activation, nn.Layer):
            raise TypeError(
                f"autoencoder: with tied=True the activation is a function of an array, such as "
                f"functional.relu, got the layer {activation.info.kind}"
            )
        decoder = nn.serial(_transposed(back, activation), nn.unflatten(inputs))
        return nn.wire(_tied, encoder=taking(inputs, encoder), decoder=decoder)
    decoder = nn.serial(
        *dense(back[:-1], activation, kernel_init=he_normal()),
        nn.linear(*back[-2:]),
        nn.unflatten(inputs),
    )
    return nn.wire(_reconstruct, encoder=taking(inputs, encoder), decoder=decoder)


@model
def conv_autoencoder(
    inputs: Sequence[int] = (28, 28, 1), widths: Sequence[int] = (16, 32), code: int = 32
) -> nn.Layer:
    """x [B, *inputs] → code [B, code] → numbers of x's shape, by convolutions of stride 2.

    | part    | layers, by default                    | outputs      | parameters |
    |---------|---------------------------------------|--------------|------------|
    | encoder | conv 4×4/2 to 16, relu                | 14 × 14 × 16 |        272 |
    |         | conv 4×4/2 to 32, relu                | 7 × 7 × 32   |      8,224 |
    |         | flatten, linear 32                    | 32           |     50,208 |
    | decoder | linear 1,568, as an image, relu       | 7 × 7 × 32   |     51,744 |
    |         | transposed conv 4×4/2 to 16, relu     | 14 × 14 × 16 |      8,208 |
    |         | transposed conv 4×4/2 to 1            | 28 × 28 × 1  |        257 |

    118,913 parameters. A kernel of 4 at stride 2 reaches all pixels equally often, so that no
    checkered pattern comes of it (Odena et al. 2016). Both sides of x are multiples of 2 for each
    of the widths. Masci et al. 2011, with strides for their max-pooling.
    """
    check_widths("conv_autoencoder", widths=widths)
    check_sizes("conv_autoencoder", code=code)
    scale = 2 ** len(widths)
    height, width, *channels = image("conv_autoencoder", inputs, scale)
    if height % scale or width % scale:
        raise ValueError(
            f"conv_autoencoder halves its images {len(widths)} times, so both sides are multiples "
            f"of {scale}, got inputs={tuple(inputs)}: data.resize, or fewer widths"
        )
    channels += widths
    small, pairs = (height // scale, width // scale, channels[-1]), [*itertools.pairwise(channels)]
    window: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}
    halved = [(nn.conv(*pair, **window, kernel_init=he_normal()), F.relu) for pair in pairs]
    doubled = [(F.relu, nn.conv_transpose(*pair[::-1], **window)) for pair in pairs[::-1]]
    encoder = nn.serial(*itertools.chain(*halved), nn.flatten, nn.linear(size(small), code))
    decoder = nn.serial(
        nn.linear(code, size(small)), nn.unflatten(small), *itertools.chain(*doubled)
    )
    return nn.wire(_reconstruct, encoder=taking(inputs, encoder), decoder=decoder)


def _reconstruct(parts: Any, x: jax.Array, *, key: Any, train: bool) -> jax.Array:
    return parts.decoder(parts.encoder(x))


def _tied(parts: Any, x: jax.Array, *, key: Any, train: bool) -> jax.Array:
    code, params = parts.encoder(x), parts.encoder.params
    count = sum(name.startswith("linear") for name in params)
    kernels = [params[f"linear{i}"]["kernel"] for i in range(count, 0, -1)]
    return parts.decoder(code, kernels=kernels)


def _transposed(widths: Sequence[int], activation: Callable[[Any], Any]) -> nn.Layer:
    """h ← h · kernelᵀ + bias through `kernels`, with the activation between: biases alone are its
    own."""

    def init(key: Key) -> tuple[Params, State]:
        return {f"bias{i}": jnp.zeros(width) for i, width in enumerate(widths[1:], 1)}, ()

    def apply(
        params: Params,
        state: State,
        x: jax.Array,
        *,
        key: Key | None = None,
        train: bool = False,
        kernels: Sequence[jax.Array],
    ) -> tuple[jax.Array, State]:
        for i, kernel in enumerate(kernels, 1):
            x = F.linear(x, kernel.T) + params[f"bias{i}"]
            if i < len(kernels):
                x = activation(x)
        return x, state

    return nn.make("transposed", init, apply, widths=tuple(widths))
