"""Mixup and cutmix: what is in x is what y says."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dlcore.data import augment

B, CLASSES = 64, 5
LABELS = jnp.asarray(np.random.default_rng(0).integers(0, CLASSES, B), jnp.int32)
# Every pixel of an image says which example it is of.
IMAGES = jnp.broadcast_to(jnp.arange(B, dtype=jnp.float32)[:, None, None, None], (B, 12, 9, 1))
BATCH = {"x": IMAGES, "y": LABELS}
ROWS = {"x": jax.nn.one_hot(LABELS, CLASSES), "y": LABELS}

mixup = jax.jit(partial(augment.mixup, classes=CLASSES))
cutmix = jax.jit(partial(augment.cutmix, classes=CLASSES))


def one_hot(labels):
    return np.eye(CLASSES)[np.asarray(labels)]


def test_mixup_mixes_targets_as_it_mixes_inputs():
    """Inputs that are the one-hot labels stay equal to the targets."""
    mixed = mixup(jax.random.key(0), ROWS, 0.3)
    np.testing.assert_allclose(mixed["x"], mixed["y"], atol=1e-6)
    np.testing.assert_allclose(mixed["y"].sum(1), 1, atol=1e-6)
    assert (np.count_nonzero(mixed["y"], axis=1) == 2).any()
    assert (np.count_nonzero(mixed["y"], axis=1) <= 2).all()
    assert mixed["x"].dtype == mixed["y"].dtype == jnp.float32


@pytest.mark.parametrize("alpha", [0.4, 1.0, 3.0])
def test_the_shares_of_mixup_are_from_the_beta_distribution(alpha):
    targets = np.concatenate([mixup(jax.random.key(i), ROWS, alpha)["y"] for i in range(30)])
    own = np.tile(np.asarray(LABELS), 30)
    shares = targets[np.arange(len(own)), own]
    # Where both are of one class, it is not seen.
    seen = shares[shares < 1]
    assert len(seen) > 1_000
    assert stats.kstest(seen, stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_cutmix_pastes_one_rectangle_and_y_says_how_large_it_is():
    mixed = cutmix(jax.random.key(0), BATCH, 1.0)
    shares = []
    images, targets = np.asarray(mixed["x"]), np.asarray(mixed["y"])
    for i, (image, target) in enumerate(zip(images, targets, strict=True)):
        pasted = image[..., 0] != i
        others = set(image[pasted][:, 0].tolist())
        assert len(others) <= 1
        share = pasted.mean()
        expected = one_hot(LABELS[i]) * (1 - share)
        for other in others:
            expected = expected + share * one_hot(LABELS[int(other)])
        np.testing.assert_allclose(target, expected, atol=1e-6)
        rows, columns = pasted.any(1), pasted.any(0)
        np.testing.assert_array_equal(pasted, rows[:, None] & columns)
        for line in (rows, columns):
            assert np.abs(np.diff(line.astype(int), prepend=0, append=0)).sum() <= 2
        shares.append(share)
    assert np.std(shares) > 0.1


def test_a_rectangle_in_the_middle_has_the_share_that_was_drawn():
    """With a large α the share is ½ before the frame cuts it: √½ of the height and of the width."""
    mixed = cutmix(jax.random.key(0), BATCH, 1e5)["x"]
    pasted = np.asarray(mixed != IMAGES)[..., 0]
    rows, columns = pasted.any(2).sum(1), pasted.any(1).sum(1)
    assert rows.max() == pytest.approx(12 * np.sqrt(0.5), abs=1)
    assert columns.max() == pytest.approx(9 * np.sqrt(0.5), abs=1)


@pytest.mark.parametrize(("mix", "batch"), [(mixup, ROWS), (cutmix, BATCH)])
def test_the_key_alone_decides(mix, batch):
    one, again, other = (mix(jax.random.key(seed), batch, 1.0) for seed in (0, 0, 1))
    for name in ("x", "y"):
        np.testing.assert_array_equal(one[name], again[name])
        assert not np.array_equal(one[name], other[name])
    assert one["x"].shape == batch["x"].shape


def test_distributions_may_be_mixed_again():
    chain = augment.chain(
        lambda key, batch: cutmix(key, batch, 1.0), lambda key, batch: mixup(key, batch, 0.3)
    )
    mixed = chain(jax.random.key(0), BATCH)
    np.testing.assert_allclose(mixed["y"].sum(1), 1, atol=1e-6)
    assert (np.count_nonzero(mixed["y"], axis=1) > 2).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(augment.mixup, alpha=0.0), "mixup: alpha is 0.0, but must be positive"),
        (partial(augment.mixup, batch={**BATCH, "weight": LABELS}), "with weights cannot be mixed"),
        (partial(augment.mixup, batch={**BATCH, "y": LABELS / 2}), r"y is float32\[64\], but cl"),
        (partial(augment.mixup, batch={**BATCH, "y": jnp.ones((B, 3))}), r"float32 \[B, 5\]"),
        (partial(augment.cutmix, batch={**BATCH, "x": LABELS}), r"x is \[64\], but images \[B, H"),
    ],
)
def test_what_cannot_be_mixed_is_refused(call, message):
    settings = {"batch": BATCH, "alpha": 1.0, "classes": CLASSES, **call.keywords}
    with pytest.raises(ValueError, match=message):
        call.func(jax.random.key(0), **settings)


@pytest.mark.parametrize("mix", [augment.mixup, augment.cutmix])
@pytest.mark.parametrize("label", [-1, CLASSES])
def test_a_label_out_of_range_is_refused_or_spoils_the_loss(mix, label):
    """As in `cross_entropy`: in words, and where it is compiled as NaN, which stops the run."""
    batch = {**BATCH, "y": LABELS.at[7].set(label)}
    message = rf"y\[7\] is {label}, but must be one of the 5 classes"
    with pytest.raises(ValueError, match=message):
        mix(jax.random.key(0), batch, 1.0, CLASSES)
    compiled = mixup if mix is augment.mixup else cutmix
    assert np.isnan(compiled(jax.random.key(0), batch, 1.0)["y"][7]).all()
