"""Faces: what their claims ask for, and what parts of them compute."""

from __future__ import annotations

import jax
import numpy as np

from experiments.sequences import faces
from tests.experiments.smoke import holds


def measured(triplets, lda, others, pixels, hard, semi_hard):
    """Two splits, and two ways to mine that end with (loss, distance)."""
    auc = {"triplets": triplets, "PCA 20, LDA": lda, "PCA 60, LDA": others, "pixels": pixels}
    scores = {
        method: [faces.Scores(value + d, 0.1, 0.9, 1.0, 0.9) for d in (-0.01, 0.01)]
        for method, value in auc.items()
    }
    mining = {
        how: faces.Mined([(1, 1.0, 1.0, 1.0), (2, loss, 0.5, distance)], 0.9, False)
        for how, (loss, distance) in {"batch_hard": hard, "semi_hard": semi_hard}.items()
    }
    return faces.Measured(scores, {}, mining, np.zeros(0), [])


def test_claims_follow_the_measurements():
    good = measured(0.98, 0.96, 0.97, 0.93, (0.5, 0.01), (0.1, 1.9))
    assert all(holds(faces, good))
    bad = measured(0.97, 0.92, 0.98, 0.93, (0.2, 1.5), (0.1, 1.9))
    assert not any(holds(faces, bad))
    assert len(holds(faces, good._replace(mining={}))) == 3


def test_what_is_seen_anew_is_the_picture_moved_and_lit():
    """Whatever is drawn, a picture of one grey has but that, and 0 where it was moved in."""
    seen = jax.jit(jax.vmap(faces.seen_anew, (0, None)))
    keys = jax.vmap(jax.random.key)(np.arange(20))
    found = np.asarray(seen(keys, np.ones((24, 24, 1), np.float32)))
    middle = found[:, 8:16, 8:16]
    np.testing.assert_allclose(middle, middle[:, :1, :1].repeat(8, 1).repeat(8, 2), rtol=1e-5)
    assert np.ptp(middle.mean((1, 2, 3))) > 0.3
    assert (found.std((1, 2, 3)) > 0).all()


def test_prepared_pictures_are_standardised():
    x = np.random.default_rng(0).random((3, 20, 16, 1), np.float32)
    bright = faces.prepared({"x": 0.5 * x + 0.4}, 12)["x"]
    np.testing.assert_allclose(bright, faces.prepared({"x": x}, 12)["x"], atol=1e-4)
    np.testing.assert_allclose(bright.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(bright.std((1, 2, 3)), 1, rtol=1e-4)
