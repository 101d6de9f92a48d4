from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, stats
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from dlcore import data
from dlcore.data import preprocess
from dlcore.interop import weights

FITS = {
    "centring": data.fit_centering,
    "standardising": data.mean_and_std,
    "decorrelation": data.fit_decorrelation,
    "pca": data.fit_pca,
    "pca, some": lambda x: data.fit_pca(x, eps=0.1, components=5),
    "zca": data.fit_zca,
    "zca, regularised": lambda x: data.fit_zca(x, eps=0.1),
}
WHITENINGS = (data.fit_decorrelation, data.fit_pca, data.fit_zca)


def correlated(n, *shape, seed=0):
    """Examples whose deviations along random axes run from 3 to 0.1, about a mean of 2."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    axes = stats.ortho_group.rvs(size, random_state=seed)
    x = 2 + rng.normal(size=(n, size)) * np.geomspace(3, 0.1, size) @ axes
    return x.reshape(n, *shape).astype(np.float32)


def flat(x):
    return np.reshape(x, (len(x), -1)).astype(np.float64)


def functions(fitted):
    """What applies a fit, and what inverts it."""
    if isinstance(fitted, data.Whitening):
        return data.whiten, data.unwhiten
    return data.normalize, data.denormalize


# Centring and standardising.


@pytest.mark.parametrize("shape", [(9_000, 3, 2, 3), (10, 4), (1, 5, 5, 1)])
def test_mean_and_std(shape):
    x = np.random.default_rng(0).normal(100, 3, shape).astype(np.float32)
    wide = x.astype(np.float64)
    for per, axes in (
        ("channel", tuple(range(x.ndim - 1))),
        ("feature", (0,)),
        ("all", tuple(range(x.ndim))),
    ):
        mean, std = data.mean_and_std(x, per)
        assert mean.dtype == std.dtype == np.float32
        np.testing.assert_allclose(mean, wide.mean(axes), rtol=1e-6)
        expected = wide.std(axes)
        np.testing.assert_allclose(std, np.where(expected > 0, expected, 1), rtol=1e-5)
        centred, one = data.fit_centering(x, per)
        np.testing.assert_array_equal(centred, mean)
        assert one == 1


def test_standardising_is_scikit_learns():
    x = np.random.default_rng(0).normal(3, 2, (500, 6)).astype(np.float32)
    x[:, 2] = 0.1
    ours = data.normalize(data.mean_and_std(x, "feature"), x)
    np.testing.assert_allclose(ours, StandardScaler().fit_transform(flat(x)), atol=1e-5)


def test_the_mean_image_is_alexnets():
    images = np.random.default_rng(0).random((20, 4, 4, 3), np.float32)
    fitted = data.fit_centering(images)
    np.testing.assert_allclose(fitted.mean, np.mean(list(images), axis=0), atol=1e-6)
    np.testing.assert_array_equal(data.normalize(fitted, images), images - fitted.mean)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_channel_becomes_zero(dtype):
    x = np.stack([np.full(3_001, 0.1), np.arange(3_001)], axis=1).astype(dtype)
    fitted = data.mean_and_std(x)
    assert fitted.std[0] == 1
    np.testing.assert_allclose(data.normalize(fitted, x)[:, 0], np.zeros(3_001), atol=1e-8)


# Decorrelation, PCA and ZCA whitening.


@pytest.mark.parametrize("shape", [(400, 12), (9_000, 5), (12, 12), (8, 30), (300, 3, 2, 2)])
@pytest.mark.parametrize("components", [None, 4])
def test_pca_is_scikit_learns(shape, components):
    x = correlated(*shape)
    count = components or min(shape[0] - 1, flat(x).shape[1])
    oracle = PCA(count, whiten=True, svd_solver="full").fit(flat(x))
    fitted = data.fit_pca(x, components=components)
    assert fitted.matrix.shape == (*shape[1:], count)
    test = correlated(50, *shape[1:], seed=1) if shape[0] > count + 1 else x
    np.testing.assert_allclose(data.whiten(fitted, test), oracle.transform(flat(test)), atol=1e-4)
    rotated = data.whiten(data.fit_decorrelation(x, components), test)
    expected = oracle.set_params(whiten=False).transform(flat(test))
    np.testing.assert_allclose(rotated, expected, atol=2e-5)


def test_the_largest_entry_of_each_axis_is_positive():
    matrix = data.fit_decorrelation(correlated(50, 10)).matrix
    for axis in matrix.T:
        assert max(axis, key=abs) > 0


@pytest.mark.parametrize("shape", [(500, 12), (30, 3, 4), (6, 12), (9_000, 2, 2, 1)])
def test_covariances(shape):
    x = correlated(*shape)
    rank = min(shape[0] - 1, flat(x).shape[1])
    variances = linalg.eigvalsh(np.cov(flat(x).T))[::-1][:rank]
    decorrelated = data.whiten(data.fit_decorrelation(x), x)
    np.testing.assert_allclose(np.cov(flat(decorrelated).T), np.diag(variances), atol=2e-5)
    white = data.whiten(data.fit_pca(x), x)
    np.testing.assert_allclose(np.cov(flat(white).T), np.eye(rank), atol=2e-5)
    zca = np.cov(flat(data.whiten(data.fit_zca(x), x)).T)
    np.testing.assert_allclose(linalg.eigvalsh(zca)[::-1][:rank], np.ones(rank), atol=2e-5)
    if rank == len(zca):
        np.testing.assert_allclose(zca, np.eye(rank), atol=2e-5)


@pytest.mark.parametrize("eps", [1e-3, 0.5])
@pytest.mark.parametrize("n", [500, 6])
def test_eps_is_added_to_the_variances(eps, n):
    x = correlated(n, 12)
    covariance = np.cov(flat(x).T)
    expected = linalg.inv(linalg.sqrtm(covariance + eps * np.eye(12)).real)
    fitted = data.fit_zca(x, eps)
    np.testing.assert_allclose(fitted.matrix, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fitted.inverse @ fitted.matrix, np.eye(12), atol=1e-4)
    white = data.whiten(data.fit_pca(x, eps), x)
    variances = linalg.eigvalsh(covariance)[::-1][: white.shape[1]]
    expected = np.diag(variances / (variances + eps))
    np.testing.assert_allclose(np.cov(white.T), expected, atol=2e-5)


@pytest.mark.parametrize("eps", [0.0, 1e-30, 1e-14])
def test_an_eps_within_rounding_changes_nothing(eps):
    for n in (6, 500):
        x = correlated(n, 12)
        expected = linalg.pinv(linalg.sqrtm(np.cov(flat(x).T)).real, rtol=1e-5)
        np.testing.assert_allclose(data.fit_zca(x, eps).matrix, expected, atol=2e-4)


def test_zca_is_symmetric_and_in_the_shape_of_the_image():
    x = correlated(200, 3, 2, 2)
    fitted = data.fit_zca(x)
    assert fitted.matrix.shape == (3, 2, 2, 3, 2, 2)
    assert data.whiten(fitted, x).shape == x.shape
    matrix = fitted.matrix.reshape(12, 12)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    assert linalg.eigvalsh(matrix).min() > 0


def test_zca_changes_the_data_least_of_all_whitenings():
    x = correlated(500, 8)
    centred = x - x.mean(0)
    zca = data.whiten(data.fit_zca(x), x)

    def distance(white):
        np.testing.assert_allclose(np.cov(white.T), np.eye(8), atol=1e-4)
        return np.square(white - centred).mean()

    others = [zca @ rotation for rotation in stats.ortho_group.rvs(8, size=200, random_state=0)]
    others += [zca @ linalg.expm(t * np.triu(a := np.eye(8, k=3)) - t * a.T) for t in (-0.05, 0.05)]
    others.append(data.whiten(data.fit_pca(x), x))
    assert distance(zca) < min(map(distance, others))


def test_whitening_of_a_ravine_makes_it_round():
    """Two features almost the same: the lecture's narrow valley, its condition number 1 after."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(1_000, 1))
    x = (shared + 0.05 * rng.normal(size=(1_000, 2))).astype(np.float32)
    assert np.linalg.cond(np.cov(x.T)) > 500
    assert np.linalg.cond(np.cov(data.whiten(data.fit_zca(x), x).T)) < 1.001


def test_a_fit_knows_the_training_split_only():
    x = correlated(100, 6)
    fitted = data.fit_pca(x)
    shifted = data.whiten(fitted, x + np.float32(5))
    moved = np.full(6, 5.0) @ fitted.matrix
    np.testing.assert_allclose(
        shifted - data.whiten(fitted, x), np.tile(moved, (100, 1)), atol=1e-4
    )


@pytest.mark.parametrize("fit", WHITENINGS)
def test_constant_and_repeated_features(fit):
    x = correlated(200, 6)
    x[:, 2] = 0.1
    x[:, 4] = x[:, 1]
    fitted = fit(x)
    y = data.whiten(fitted, x)
    assert np.isfinite(y).all()
    assert np.linalg.matrix_rank(np.cov(y.T), tol=1e-4) == 4
    if fit is not data.fit_zca:
        assert y.shape == (200, 4)
    np.testing.assert_allclose(data.unwhiten(fitted, y), x, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit", WHITENINGS)
def test_nothing_but_constants(fit, dtype):
    with pytest.raises(ValueError, match="every feature of x is constant"):
        fit(np.full((1_000, 3), 0.1, dtype))


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_the_data_does_not_matter(scale):
    x = correlated(100, 5)
    white = data.whiten(data.fit_pca(x), x)
    scaled = (x * scale).astype(np.float32)
    np.testing.assert_allclose(data.whiten(data.fit_pca(scaled), scaled), white, atol=1e-4)


def test_the_chunks_are_a_matter_of_memory_only(monkeypatch):
    x = correlated(100, 5)
    whole = data.fit_pca(x)
    monkeypatch.setattr(preprocess, "_CHUNK", 7)
    for ours, expected in zip(data.fit_pca(x), whole, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_bytes_are_whitened_as_numbers():
    x = np.random.default_rng(0).integers(0, 256, (300, 2, 2, 1), np.uint8)
    white = data.whiten(data.fit_pca(x), x)
    assert white.dtype == np.float32
    np.testing.assert_allclose(np.cov(white.T), np.eye(4), atol=1e-5)


# What all fits have in common.


@pytest.mark.parametrize("name", FITS)
def test_the_inverse_gives_x_back(name):
    x = correlated(100, 2, 3)
    fitted = FITS[name](x)
    apply, invert = functions(fitted)
    y = apply(fitted, x)
    if name == "pca, some":  # only the part of x along the five axes
        axes = PCA(5, svd_solver="full").fit(flat(x))
        x = axes.inverse_transform(axes.transform(flat(x))).reshape(x.shape)
    np.testing.assert_allclose(invert(fitted, y), x, atol=1e-5)
    assert y.dtype == np.float32


@pytest.mark.parametrize("name", FITS)
def test_under_jit_and_vmap_with_the_fit_as_an_argument(name):
    x = correlated(100, 2, 3)
    fitted = FITS[name](x)
    for function, given in zip(
        functions(fitted), (x, functions(fitted)[0](fitted, x)), strict=True
    ):
        expected = function(fitted, given)
        assert type(expected) is np.ndarray
        compiled = jax.jit(function)(fitted, given)
        assert isinstance(compiled, jax.Array)
        np.testing.assert_allclose(compiled, expected, atol=1e-5)
        single = jax.vmap(function, in_axes=(None, 0))(fitted, jnp.asarray(given))
        np.testing.assert_allclose(single, expected, atol=1e-5)
        np.testing.assert_allclose(function(fitted, given[7]), expected[7], atol=1e-5)


def test_products_on_a_device_have_the_precision_of_float32():
    """An accelerator's default would round to fewer digits."""
    fitted = data.fit_zca(correlated(50, 4))
    for function in (data.whiten, data.unwhiten):
        assert "HIGHEST" in str(jax.make_jaxpr(function)(fitted, jnp.ones((2, 4))))


@pytest.mark.parametrize("name", FITS)
def test_a_fit_can_be_saved(name, tmp_path):
    fitted = FITS[name](correlated(100, 2, 3))
    weights.save(tmp_path / "fit.safetensors", fitted)
    tree, _ = weights.load(tmp_path / "fit.safetensors")
    loaded = type(fitted)(**tree)
    for ours, expected in zip(loaded, fitted, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, expected)


NORMAL = data.mean_and_std(np.arange(24, dtype=np.float32).reshape(4, 2, 3))
WHITE = data.fit_pca(correlated(20, 2, 3), components=4)
X = correlated(10, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.mean_and_std(X[:0]), r"mean_and_std: x is \[0, 3\], but \[N, ..., C\]"),
        (lambda: data.mean_and_std(X[0]), r"mean_and_std: x is \[3\]"),
        (
            lambda: data.fit_centering(X, "pixel"),
            "fit_centering: per is 'pixel', but must be one of",
        ),
        (lambda: data.fit_pca(X[0, 0]), r"fit_pca: x is \[\], but"),
        (lambda: data.fit_pca(X[:1]), "fit_pca: x has 1 examples in .* but two at least"),
        (lambda: data.fit_pca(X * np.float32("nan")), r"x has 10 examples in \[nan, nan\]"),
        (lambda: data.fit_zca(X / np.float32([1, 1, 0])), "fit_zca: x has 10 examples in"),
        (lambda: data.fit_pca(X, eps=-1e-3), "fit_pca: eps is -0.001, but a finite"),
        (lambda: data.fit_zca(X, float("nan")), "fit_zca: eps is nan"),
        (lambda: data.fit_zca(X, float("inf")), "fit_zca: eps is inf"),
        (lambda: data.fit_pca(X, components=4), "components=4: give a whole number from 1 to 3"),
        (lambda: data.fit_decorrelation(X[:2], 2), "components=2: .* from 1 to 1"),
        (lambda: data.normalize(NORMAL, X[:, :1]), r"normalize: x is \[10, 1\], but \[..., 3\]"),
        (lambda: data.denormalize(NORMAL, X[:, :2]), r"denormalize: y is \[10, 2\]"),
        (lambda: data.whiten(WHITE, X), r"whiten: x is \[10, 3\], but \[..., 2, 3\] is wanted"),
        (lambda: data.unwhiten(WHITE, X), r"unwhiten: y is \[10, 3\], but \[..., 4\] is wanted"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_the_whitening_of_real_digits(shared_data):
    """Of 784 pixels some are never written on, and some only ever together."""
    x = data.load("mnist", shared_data).train["x"][:5_000]
    variances = linalg.eigvalsh(np.cov(flat(x).T))
    rank = np.sum(variances > 1e-10)
    fitted = data.fit_pca(x)
    white = data.whiten(fitted, x)
    assert white.shape == (5_000, rank)
    np.testing.assert_allclose(np.cov(white.T), np.eye(rank), atol=1e-3)
    np.testing.assert_allclose(data.unwhiten(fitted, white), x, atol=1e-4)
