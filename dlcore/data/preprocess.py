"""Preprocessing as pure functions: statistics fitted on the training split, applied to every split.

A fit is a NamedTuple of float32 arrays, a pytree: `interop.weights` saves it, jit and vmap take it.
Its function and the inverse work on numpy arrays and, inside jit too, on jax ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data import forms
from dlcore.data.dataset import check_count
from dlcore.fields import documented

Array = TypeVar("Array", np.ndarray, jax.Array)
Per = Literal["channel", "feature", "all"]

_CHUNK = 4_096  # examples at a time in float64
_NEGLIGIBLE = 1e-12  # of the largest variance: in float32 no more than rounding


@documented
class Normalization(NamedTuple):
    """y = (x − mean) / std: `normalize`.

    mean, std: float32, which broadcast against x.
    """

    mean: np.ndarray
    std: np.ndarray


@documented
class Whitening(NamedTuple):
    """y = (x − mean)·matrix: `whiten`; x = y·inverse + mean: `unwhiten`.

    mean: of each feature, [*features].
    matrix: from features to outputs, [*features, *outputs].
    inverse: from outputs to features, [*outputs, *features].
    """

    mean: np.ndarray
    matrix: np.ndarray
    inverse: np.ndarray


def mean_and_std(x: np.ndarray, per: Per = "channel") -> Normalization:
    """The fit of standardising x [N, ..., C]: mean and deviation, each float32.

    `per` "channel" gives [C], "feature" [..., C] (every column of a table, every pixel), "all" [].
    The deviation is the population's (÷ N); where it is 0 it is given as 1, so that a constant
    channel becomes 0 rather than NaN.
    """
    x, axes = _examples("mean_and_std", x, per)
    mean = _mean(x, axes)
    var = sum(np.square(chunk - mean).sum(axes) for chunk in _chunks(x)) / (x.size // mean.size)
    is_constant = var <= np.square(_NEGLIGIBLE * mean)  # up to the rounding of the mean
    return _float32(Normalization(mean, np.sqrt(np.where(is_constant, 1, var))))


def fit_centering(x: np.ndarray, per: Per = "feature") -> Normalization:
    """The fit of centring x [N, ..., C]: its mean, and a deviation of 1.

    Per feature, the mean of images is the mean image that AlexNet subtracts (Krizhevsky et al.
    2012, section 2); per channel, the mean colour that VGG subtracts. See `mean_and_std`.
    """
    return _float32(Normalization(_mean(*_examples("fit_centering", x, per)), np.ones(())))


def normalize(normalization: Normalization, x: Array) -> Array:
    """(x − mean) / std of x [..., *mean.shape]."""
    _check_trailing("normalize", "x", x, normalization.mean.shape)
    return (x - normalization.mean) / normalization.std


def denormalize(normalization: Normalization, y: Array) -> Array:
    """y·std + mean, the inverse of `normalize`."""
    _check_trailing("denormalize", "y", y, normalization.mean.shape)
    return y * normalization.std + normalization.mean


def fit_decorrelation(x: np.ndarray, components: int | None = None) -> Whitening:
    """Decorrelation alone: y = (x − mean)·U, the turn of x [N, *features] to its axes [N, K].

    Σ = U·diag(λ)·Uᵀ is the covariance (÷ N − 1, as scikit-learn's) of the D features, U [D, K] in
    the order of falling variance λ, the largest entry of each axis positive. K is `components`, or
    all directions in which x varies: min(N − 1, D), fewer where features are constant or depend on
    each other linearly. With all of them `unwhiten` gives the x of the fit back.
    """
    mean, _, axes = _principal_axes("fit_decorrelation", x, components)
    return _whitening(x, mean, axes, axes.T)


def fit_pca(x: np.ndarray, eps: float = 0.0, components: int | None = None) -> Whitening:
    """PCA whitening: y = (x − mean)·U·diag(λ + ε)^(−1/2), x [N, *features] to y [N, K].

    With ε = 0 the covariance of y is the identity. U, λ and K as in `fit_decorrelation`.
    """
    mean, variances, axes = _principal_axes("fit_pca", x, components)
    scales = np.sqrt(variances + _check_eps("fit_pca", eps))
    return _whitening(x, mean, axes / scales, (axes * scales).T)


def fit_zca(x: np.ndarray, eps: float = 0.0) -> Whitening:
    """ZCA whitening: y = (x − mean)·U·diag(λ + ε)^(−1/2)·Uᵀ, in the shape of x [N, *features].

    PCA whitening turned back: of all maps that whiten x the one that changes it least, so that an
    image stays an image. Directions of little variance, often noise, are amplified up to ε^(−1/2)
    times: the variances of CIFAR-10's pixels in [0, 1] run from 55 down to 2·10⁻⁶. Where x does not
    vary at all the factor is ε^(−1/2), or 0 with ε = 0. U and λ as in `fit_decorrelation`.
    Krizhevsky 2009, appendix A, where ε is 0.
    """
    eps = _check_eps("fit_zca", eps)
    mean, variances, axes = _principal_axes("fit_zca", x, None)
    scales = np.sqrt(variances + eps)
    # Outside the axes, in I − U·Uᵀ, x does not vary.
    rest = np.sqrt(eps) if eps > _NEGLIGIBLE * variances[0] else 0.0
    inverse_rest = 1 / rest if rest else 0.0
    identity = np.eye(len(axes))
    matrix = (axes * (1 / scales - inverse_rest)) @ axes.T + inverse_rest * identity
    inverse = (axes * (scales - rest)) @ axes.T + rest * identity
    return _whitening(x, mean, matrix, inverse, np.shape(x)[1:])


def whiten(whitening: Whitening, x: Array) -> Array:
    """(x − mean)·matrix: [..., *features] -> [..., *outputs]."""
    mean, matrix, _ = whitening
    _check_trailing("whiten", "x", x, mean.shape)
    return _product(x - mean, matrix, mean.ndim)


def unwhiten(whitening: Whitening, y: Array) -> Array:
    """y·inverse + mean: [..., *outputs] -> [..., *features], the inverse of `whiten`."""
    mean, _, inverse = whitening
    outputs = inverse.shape[: inverse.ndim - mean.ndim]
    _check_trailing("unwhiten", "y", y, outputs)
    return _product(y, inverse, len(outputs)) + mean


def _chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    return (x[first : first + _CHUNK] for first in range(0, len(x), _CHUNK))


def _examples(function: str, x: Any, per: Per) -> tuple[np.ndarray, tuple[int, ...]]:
    """x [N, ..., C] as an array, and the axes that a statistic of it runs over."""
    x = forms.array(x, f"{function}: x")
    if np.ndim(x) < 2 or not np.size(x):
        raise ValueError(
            f"{function}: x is {list(np.shape(x))}, but [N, ..., C] with examples is wanted"
        )
    axes = {"channel": np.ndim(x) - 1, "feature": 1, "all": np.ndim(x)}
    if per not in axes:
        raise ValueError(f"{function}: per is {per!r}, but must be one of {[*axes]}")
    return x, tuple(range(axes[per]))


def _mean(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The mean in float64."""
    total = np.asarray(sum(chunk.sum(axes, dtype=np.float64) for chunk in _chunks(x)))
    return total / (x.size // total.size)


def _principal_axes(
    function: str, x: np.ndarray, components: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [D], variances [K] by size and axes [D, K] of x [N, *features], in float64."""
    x, axis = _examples(function, x, "feature")
    if len(x) < 2 or not (np.isfinite(x.min()) and np.isfinite(x.max())):
        raise ValueError(
            f"{function}: x has {len(x)} examples in [{x.min()}, {x.max()}], "
            "but two at least, of finite values, are wanted"
        )
    rows, mean = x.reshape(len(x), -1), _mean(x, axis).ravel()
    if len(rows) > len(mean):
        covariance = np.zeros((len(mean), len(mean)))
        for chunk in _chunks(rows):
            centred = chunk - mean
            covariance += centred.T @ centred
        variances, axes = np.linalg.eigh(covariance / (len(rows) - 1))
        variances, axes = variances[::-1], axes[:, ::-1]
    else:  # Σ has more entries than x: as many axes as there are examples, without it
        _, singular, transposed = np.linalg.svd(rows - mean, full_matrices=False)
        variances, axes = np.square(singular) / (len(rows) - 1), transposed.T
    # Constant as float32 sees it, or up to the rounding of the mean.
    constant = max(_NEGLIGIBLE * variances[0], np.square(_NEGLIGIBLE * mean).max())
    rank = int(np.sum(variances > constant))
    if not rank:
        raise ValueError(f"{function}: every feature of x is constant, there is nothing to whiten")
    count = rank if components is None else check_count("components", components, 1, rank)
    axes = axes[:, :count]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(count)]
    return mean, variances[:count], axes * np.sign(largest)


def _check_eps(function: str, eps: float) -> float:
    if not 0 <= eps < np.inf:
        raise ValueError(f"{function}: eps is {eps}, but a finite variance of at least 0 is wanted")
    return eps


def _float32(normalization: Normalization) -> Normalization:
    return Normalization(*(np.asarray(array, np.float32) for array in normalization))


def _whitening(
    x: np.ndarray,
    mean: np.ndarray,
    matrix: np.ndarray,
    inverse: np.ndarray,
    outputs: tuple[int, ...] = (-1,),
) -> Whitening:
    """The float32 fit of matrices [D, K] and [K, D], with features in the shape they have in x."""
    features = np.shape(x)[1:]
    shaped = (
        mean.reshape(features),
        matrix.reshape(*features, *outputs),
        inverse.reshape(*outputs, *features),
    )
    return Whitening(*(array.astype(np.float32) for array in shaped))


def _check_trailing(function: str, name: str, x: Array, shape: tuple[int, ...]) -> None:
    if np.ndim(x) < len(shape) or np.shape(x)[np.ndim(x) - len(shape) :] != shape:
        wanted = ", ".join(map(str, ("...", *shape)))
        raise ValueError(f"{function}: {name} is {list(np.shape(x))}, but [{wanted}] is wanted")


def _product(x: Any, matrix: Any, axes: int) -> Any:
    """The last `axes` axes of x times the first of the matrix, in the full precision of float32."""
    if isinstance(x, jax.Array) or isinstance(matrix, jax.Array):
        return jnp.tensordot(x, matrix, axes, precision="highest")
    return np.tensordot(x, matrix, axes)
