"""Codes as points of a plane."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from dlcore.analysis import latent_map

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3
CODES = (8 * np.eye(3)[LABELS] @ RNG.normal(size=(3, 6)) + RNG.normal(size=(60, 6))).astype(
    np.float32
)


def test_pca_keeps_the_two_largest_variances():
    points = latent_map(CODES)
    values = np.linalg.svd(CODES - CODES.mean(0), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(points, axis=0), values[:2], rtol=1e-4)
    assert points.dtype == np.float32


@pytest.mark.parametrize("method", ["tsne", pytest.param("umap", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::ImportWarning", "ignore::UserWarning")  # umap's own
def test_who_is_near_stays_near(method):
    if method == "umap":
        pytest.importorskip("umap", reason="umap-learn is not installed: dlcore[umap]")
    points = latent_map(CODES, method)
    assert points.shape == (60, 2)
    own = KNeighborsClassifier(3).fit(points, LABELS).score(points, LABELS)
    assert own > 0.95
    np.testing.assert_array_equal(points, latent_map(CODES, method))


def test_refuses():
    with pytest.raises(ValueError, match="method is 'lda', but must be one of"):
        latent_map(CODES, "lda")
    with pytest.raises(ValueError, match=r"codes are \[60, 2, 3\]"):
        latent_map(CODES.reshape(60, 2, 3))
    with pytest.raises(ValueError, match=r"all codes are the same, .* has the posterior"):
        latent_map(np.zeros((20, 5)), "tsne")
    assert latent_map(CODES[:, :1]).shape == (60, 2)
