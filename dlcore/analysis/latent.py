"""Codes of many numbers as points of a plane."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from dlcore.checks import one_of
from dlcore.data.dataset import check_count

Method = Literal["pca", "tsne", "umap"]


def latent_map(codes: Any, method: Method = "pca", *, seed: int = 0) -> np.ndarray:
    """The codes [N, D] as points float32 [N, 2], by scikit-learn or umap-learn.

    method: "pca": their projection on the two directions of the largest variance. "tsne", "umap":
        who is near whom, as far as a plane can keep it: distances between groups, and their sizes,
        say nothing (van der Maaten and Hinton 2008; McInnes et al. 2018). t-SNE of 5,000 points
        takes half a minute. "umap" needs umap-learn: pip install 'dlcore[umap]'.
    seed: of what these two draw.

    >>> latent_map(np.eye(4)).shape
    (4, 2)
    """
    codes = np.asarray(codes, np.float32)
    if codes.ndim != 2 or len(codes) < 4 or not np.isfinite(codes).all():
        raise ValueError(
            f"latent_map: codes are {list(codes.shape)}, but four or more of finite numbers, "
            "[N, D], are wanted: codes.reshape(len(codes), -1)"
        )
    if np.ptp(codes, axis=0).max() == 0:
        raise ValueError(
            "latent_map: all codes are the same, and have no map: has the posterior collapsed?"
        )
    check_count("seed", seed, 0)
    maps = {"pca": _pca, "tsne": _tsne, "umap": _umap}
    if codes.shape[1] == 1:
        codes = np.pad(codes, ((0, 0), (0, 1)))
    points: np.ndarray = one_of("latent_map", "method", method, maps)(codes, seed)
    return points.astype(np.float32)


def _pca(codes: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    return PCA(2, svd_solver="full").fit_transform(codes)


def _tsne(codes: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    near = min(30.0, (len(codes) - 1) / 3)
    return TSNE(2, perplexity=near, init="pca", random_state=seed).fit_transform(codes)


def _umap(codes: np.ndarray, seed: int) -> np.ndarray:
    try:
        from umap import UMAP
    except ModuleNotFoundError:
        needed = "latent_map: umap needs umap-learn: pip install 'dlcore[umap]'"
        raise ModuleNotFoundError(needed, name="umap") from None

    near = min(15, len(codes) - 1)
    # A seed means one thread, which umap says in a warning unless it is asked for.
    return UMAP(n_neighbors=near, random_state=seed, n_jobs=1).fit_transform(codes)
