"""The experiments on generative networks: their claims, and what they stand on."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from dlcore import analysis, train
from experiments.choice import BadInput
from experiments.generative import _judge, features, reconstruction, vae, wanted_digit
from experiments.generative._watching import watching
from tests.experiments import smoke
from tests.experiments.smoke import holds


def test_reconstruction_claims():
    pca = dict.fromkeys(reconstruction.CODES, 1.0)
    linear = {"Muon": {2: reconstruction.Linear(1.0, 1.0, 0.5)}}
    for share, held in ((0.8, True), (0.9, False)):
        own = dict.fromkeys(reconstruction.CODES, share)
        errors = {"PCA": pca, "autoencoder": own}
        measured = reconstruction.Measured(errors, linear, {})
        assert holds(reconstruction, measured) == [held] * 4 + [True, True]
    turned = {
        "Muon": {2: reconstruction.Linear(1.0, 1.0, 0.5), 8: reconstruction.Linear(1.1, 1.0, 40)}
    }
    assert holds(reconstruction, measured._replace(linear=turned))[4:] == [False, False]


def test_principal_directions_are_scikit_learns():
    x = np.random.default_rng(0).normal(size=(50, 6)) * np.arange(1, 7)
    own, theirs = reconstruction.principal(x)[:, :3], PCA(3).fit(x).components_
    np.testing.assert_allclose(abs(own.T @ theirs.T), np.eye(3), atol=1e-6)


def test_features_claims():
    def arm(**facts):
        parts = {"error": 1.0, "mended": 1.0, "off": 0.3, "activation": 0.5, "steepness": 1.0}
        return features.Arm(**{**parts, **facts}, weights=np.zeros((1, 28, 28)))

    plain = dict.fromkeys(features.ASKED, arm())
    assert holds(features, features.Measured(plain, {})) == [False] * 4
    good = {
        "plain": arm(),
        "denoising": arm(mended=0.6),
        "L1": arm(off=0.9),
        "KL": arm(activation=0.11),
        "contractive": arm(steepness=0.4),
    }
    assert holds(features, features.Measured(good, {})) == [True] * 4


def test_vae_claims_and_settings():
    def measured(dynamic, large, nats, bound):
        arms = [
            vae.Arm(network, way, 1, value, 0.0, 0.0, 2, np.ones(2))
            for network, way, value in (
                (vae.SMALL, "dynamic", dynamic),
                (vae.SMALL, "threshold", -88.0),
                (vae.LARGE, "dynamic", large),
            )
        ]
        return vae.Measured(arms, vae.Likelihood(nats, 0.1, bound), {}, np.zeros(0), {})

    assert holds(vae, measured(-102, -93, -88, -92)) == [True] * 5
    assert holds(vae, measured(-90, -96, -91, -91)) == [True, False, False, False, False]
    with pytest.raises(BadInput, match="no map is called 'tnse', did you mean tsne"):
        vae.Config(maps=("tnse",))


def test_wanted_digit_claims():
    def quality(recognised, precision, recall):
        shares = np.full(10, 0.1)
        return analysis.Quality(10, shares, 2.3, recognised, precision, recall, 1.0)

    def measured(*drawn):
        both = {"real digits": quality(None, 0.8, 0.8), "conditional VAE": quality(*drawn)}
        return wanted_digit.Measured(0.99, "", both, [], np.zeros(0))

    assert holds(wanted_digit, measured(0.95, 0.7, 0.5)) == [True] * 4
    assert holds(wanted_digit, measured(0.11, 0.6, 0.4)) == [True, False, False, False]


def test_a_judge_is_trained_once_and_again_where_it_is_damaged(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(_judge, "folder", lambda: tmp_path / "judges")
    digits = smoke.drawn("mnist")
    first = _judge.judge(digits, 64, 1)
    assert "learns real ones" in capsys.readouterr().out
    (path,) = (tmp_path / "judges").iterdir()
    again = _judge.judge(digits, 64, 1)
    assert "learns" not in capsys.readouterr().out
    assert (again.digest, again.accuracy) == (first.digest, first.accuracy)
    path.write_bytes(path.read_bytes()[:-8])
    assert _judge.judge(digits, 64, 1).digest == first.digest
    assert "learns real ones" in capsys.readouterr().out
    other = dataclasses.replace(digits, train={**digits.train, "x": 1 - digits.train["x"]})
    layer = first.layer
    names = {_judge.recipe(layer, one.train, 1) for one in (digits, other)}
    assert len(names) == 2
    # Features and probabilities are the network's own.
    features, probabilities = first.look(digits.test["x"])
    assert features.shape == (120, 84)
    logits = train.predict(layer, first.params, (), digits.test["x"])
    np.testing.assert_array_equal(probabilities.argmax(-1), logits.argmax(-1))
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_a_picture_is_written_after_each_epoch(tmp_path):
    write = watching(tmp_path, "samples", lambda state: np.zeros((4, 3, 3)))
    write(SimpleNamespace(ends_epoch=False, epoch=1, state=None))
    assert not list(tmp_path.iterdir())
    write(SimpleNamespace(ends_epoch=True, epoch=1, state=None))
    assert [one.name for one in tmp_path.iterdir()] == ["samples.png"]
    assert watching(None, "samples", None) is None
