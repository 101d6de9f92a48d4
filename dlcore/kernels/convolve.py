"""The convolution beneath `conv`: JAX's own, with its axes in the order that the CPU likes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from dlcore.checks import wide_dtype
from dlcore.kernels import onednn
from dlcore.window import Pair

Axes = Sequence[int]

_FEW = 16  # channels of y: a vector of a processor with AVX-512
# Examples that are summed at once in a kernel's gradient; by oneDNN as many as have so many bytes.
_BLOCK, _LEAST, _BLOCK_BYTES = 64, 8, 2**21

# Where x has (batch, channels, height, width), the kernel (out, in, height, width) and y (batch,
# channels, height, width): [B, H, W, C], [h, w, in, out] and [B, H, W, C].
_ORDER = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: Pair,
    padding: Sequence[Pair],
    dilation: Pair,
    groups: int,
) -> jax.Array:
    """`conv` with its padding in numbers: jax.lax.conv_general_dilated, all derivatives included.

    XLA on the CPU has a fast routine for convolutions whose axes come in the order that is usual
    here, and brings others into it, but not inside of a loop or a call (jax issue 12868); and a
    gradient is a convolution in another order. So, without groups, this is a primitive of its own:
    its gradients are the same primitive, and it orders its axes before XLA sees them. With it a
    training step of ResNet-20 inside of a lax.scan takes 0.9 s, and more than 20 s without.
    An array with more to its type than shape and dtype (explicit sharding, the axes of a shard_map)
    goes to JAX's own, which knows what that means.
    """
    how: dict[str, Any] = {
        "window_strides": stride,
        "padding": tuple(padding),
        "lhs_dilation": (1, 1),
        "rhs_dilation": dilation,
        "dimension_numbers": _ORDER,
    }
    if groups == 1 and all(jax.typeof(a) == ShapedArray(a.shape, a.dtype) for a in (x, kernel)):
        return _convolve.bind(x, kernel, **how)
    return _plain(x, kernel, feature_group_count=groups, **how)


def _plain(x: jax.Array, kernel: jax.Array, **how: Any) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, **how)


def _on_cpu(x: jax.Array, kernel: jax.Array, **how: Any) -> jax.Array:
    """As `_plain`.

    The kernel's gradient, which has x in another order, is a call of its own, since XLA computes
    what makes x anew in the midst of its transposition: a step of ResNet-20, batch 128, took 565 ms
    with the transpositions in line and 390 with calls (two cores, jax 0.12; 720 and 550 on 0.10).
    """
    if 0 in x.shape or 0 in kernel.shape:
        return _plain(x, kernel, **how)
    if how["dimension_numbers"].lhs_spec == _ORDER.lhs_spec:
        return _ordered(x, kernel, by_onednn=onednn.takes_image(x, kernel, **how), **how)
    with set_xla_metadata(inlineable="false"):
        return _by_blocks(x, kernel, **how)


def _by_blocks(x: jax.Array, kernel: jax.Array, **how: Any) -> jax.Array:
    """As `_plain`, summed over blocks of x's channels: of a kernel's gradient those are the batch.

    A block stays in cache. Microseconds an example of the gradient for 3×3 kernels at once and in
    blocks of 64 (two cores, jax 0.12; 0.10), 16 to 16 channels at 32×32: batch 128 56 and 50; 86
    and 87; 1024 179 and 52; 328 and 83. 64 to 64 at 8×8: 38 and 33, 81 and 58; 56 and 33, 211 and
    57. By oneDNN, all at once and in blocks of up to 2 MB: 83 and 53; 29 and 29.
    """
    axes = [how["dimension_numbers"][role][1] for role in (0, 1)]
    size, images = x.shape[axes[0]], x.shape[how["dimension_numbers"].lhs_spec[0]]
    most, part = _BLOCK, _ordered
    if images > 1 and onednn.takes_gradient(x, **how):
        example = (x.nbytes + kernel.nbytes) // size
        most, part = max(_LEAST, _BLOCK_BYTES // example), _across
    block = _block(size, most) if isinstance(size, int) else size
    if block == size:
        return part(x, kernel, **how)

    def add(i: jax.Array, total: jax.Array) -> jax.Array:
        parts = (
            lax.dynamic_slice_in_dim(one, i * block, block, axis)
            for one, axis in zip((x, kernel), axes, strict=True)
        )
        return total + part(*parts, **how).astype(total.dtype)

    y = _shape(x, kernel, **how)
    total = jnp.zeros(y.shape, wide_dtype(y.dtype))
    return lax.fori_loop(0, size // block, add, total).astype(y.dtype)


def _block(size: int, most: int) -> int:
    """The largest divisor of size up to `most`, or size where that is less than half of it."""
    block = next(block for block in range(min(size, most), 0, -1) if size % block == 0)
    return block if 2 * block >= min(size, most) else size


_HOW = ("window_strides", "padding", "lhs_dilation", "rhs_dilation", "dimension_numbers")

_across = jax.jit(onednn.across, static_argnames=_HOW)


@functools.partial(jax.jit, static_argnames=(*_HOW, "by_onednn"))
def _ordered(x: jax.Array, kernel: jax.Array, *, by_onednn: bool = False, **how: Any) -> jax.Array:
    """As `_plain`, by one with x, kernel and y in `_ORDER`."""
    x_axes, kernel_axes, y_axes = how.pop("dimension_numbers")
    x = _reordered(x, x_axes, _ORDER.lhs_spec)
    kernel = _reordered(kernel, kernel_axes, _ORDER.rhs_spec)
    y = (onednn.image if by_onednn else _by_columns)(x, kernel, **how)
    return _reordered(y, _ORDER.out_spec, y_axes)


def _by_columns(x: jax.Array, kernel: jax.Array, **how: Any) -> jax.Array:
    """As `_plain` in `_ORDER`, q columns of y at once where its channels are few.

    A processor's vectors stay empty with few channels. So they hold those of q neighbours: q
    kernels side by side, each a column further in a window that is wider by q − 1, with the stride
    q. 1 to 6 channels, 5×5, 28×28, batch 128: 5.2 ms becomes 1.0; 16 to 6, 14×14: 6.3 becomes 2.2
    (two cores, jax 0.12); with 16 channels and more there is nothing to be won.
    """
    q = _columns(x, kernel, **how)
    how["dimension_numbers"] = _ORDER
    if q == 1:
        return _plain(x, kernel, **how)
    height, width, depth, out = kernel.shape
    shifted = [jnp.pad(kernel, ((0, 0), (i, q - 1 - i), (0, 0), (0, 0))) for i in range(q)]
    wide = jnp.stack(shifted, axis=3).reshape(height, width + q - 1, depth, q * out)
    y = _plain(x, wide, **how | {"window_strides": (how["window_strides"][0], q)})
    return y.reshape(*y.shape[:2], -1, out)


def _columns(x: jax.Array, kernel: jax.Array, **how: Any) -> int:
    """How many columns of y to compute at once, at most three times the multiplications."""
    (before, width), out = (x.shape[2], kernel.shape[1]), kernel.shape[3]
    steps = {how[name][1] for name in ("window_strides", "lhs_dilation", "rhs_dilation")}
    if out >= _FEW or steps != {1} or not isinstance(before, int):
        return 1
    columns = before + sum(how["padding"][1]) - width + 1
    if not 1 < width < columns:  # a window as wide as x is that of a kernel's gradient
        return 1
    fitting = (q for q in range(2 * width + 1, 1, -1) if q * out <= 3 * _FEW and columns % q == 0)
    return next(fitting, 1)


def _reordered(x: jax.Array, axes: Axes, wanted: Axes) -> jax.Array:
    return x.transpose([axes[i] for i in np.argsort(wanted)])


def _to_x(gradient: jax.Array, x: Any, kernel: jax.Array, **how: Any) -> jax.Array:
    """The transpose for x: each gradient, times the turned kernel, goes back where x came from."""
    x_axes, kernel_axes, y_axes = how["dimension_numbers"]
    padding = [
        (reach - low, before - after + low)
        for (low, _), before, after, reach in _spans(x.aval, kernel, gradient, **how)
    ]
    return _convolve.bind(
        gradient,
        lax.rev(kernel, kernel_axes[2:]),
        window_strides=how["lhs_dilation"],
        padding=tuple(padding),
        lhs_dilation=how["window_strides"],
        rhs_dilation=how["rhs_dilation"],
        dimension_numbers=lax.ConvDimensionNumbers(y_axes, _exchanged(kernel_axes), x_axes),
    )


def _to_kernel(gradient: jax.Array, x: jax.Array, kernel: Any, **how: Any) -> jax.Array:
    """The transpose for the kernel: the gradient slides over x, with batch for channels."""
    x_axes, kernel_axes, y_axes = how["dimension_numbers"]
    padding = [
        (low, reach + after - before - low)
        for (low, _), before, after, reach in _spans(x, kernel.aval, gradient, **how)
    ]
    return _convolve.bind(
        x,
        gradient,
        window_strides=how["rhs_dilation"],
        padding=tuple(padding),
        lhs_dilation=how["lhs_dilation"],
        rhs_dilation=how["window_strides"],
        dimension_numbers=lax.ConvDimensionNumbers(*map(_exchanged, (x_axes, y_axes, kernel_axes))),
    )


def _spans(x: Any, kernel: Any, y: Any, **how: Any) -> Any:
    """Along height and width: the padding, and how far x, y and a step of the kernel reach."""
    x_axes, kernel_axes, y_axes = (axes[2:] for axes in how["dimension_numbers"])
    before = (x.shape[a] * d - d + 1 for a, d in zip(x_axes, how["lhs_dilation"], strict=True))
    after = (y.shape[a] * s - s + 1 for a, s in zip(y_axes, how["window_strides"], strict=True))
    reach = (kernel.shape[a] * d - d for a, d in zip(kernel_axes, how["rhs_dilation"], strict=True))
    return zip(how["padding"], before, after, reach, strict=True)


def _exchanged(axes: Axes) -> Axes:
    """The first two roles in each other's place: batch and channels, or out and in."""
    return (axes[1], axes[0], *axes[2:])


def _shape(x: Any, kernel: Any, **how: Any) -> Any:
    y = jax.eval_shape(lambda x, kernel: _plain(x, kernel, **how), x, kernel)
    return ShapedArray(y.shape, y.dtype)


def _batched(operands: Any, axes: Any, **how: Any) -> Any:
    return jax.vmap(lambda x, kernel: _plain(x, kernel, **how), axes)(*operands), 0


_convolve = Primitive("convolve")
_convolve.def_impl(jax.jit(_plain, static_argnames=_HOW))
_convolve.def_abstract_eval(_shape)
ad.defbilinear(_convolve, _to_x, _to_kernel)
batching.primitive_batchers[_convolve] = _batched
mlir.register_lowering(_convolve, mlir.lower_fun(_plain, multiple_results=False))
mlir.register_lowering(_convolve, mlir.lower_fun(_on_cpu, multiple_results=False), platform="cpu")
