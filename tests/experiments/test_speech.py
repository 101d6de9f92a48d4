from __future__ import annotations

import jax
import numpy as np
import pytest

from experiments.sequences import speech
from tests.experiments.smoke import holds, sounds


def test_nobody_held_out_is_heard_nor_measured():
    sequences = sounds(steps=12)
    learned, heldout = speech.parted(sequences, 2)
    assert len(learned["y"]) == 150
    np.testing.assert_array_equal(heldout["y"], sequences["y"][sequences["speaker"] == 2])
    real = learned["x"][learned["mask"]]
    np.testing.assert_allclose(real.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(real.std(axis=0), 1, atol=1e-4)
    assert not learned["x"][~learned["mask"]].any()
    louder = np.where((sequences["speaker"] == 2)[:, None, None], 9, sequences["x"])
    np.testing.assert_array_equal(
        learned["x"], speech.parted({**sequences, "x": louder}, 2)[0]["x"]
    )


def test_what_comes_after_the_end_changes_nothing():
    """Neither the network's logits nor what the regressions see."""
    layer = speech.network(8, 3)
    params, state = layer.init(jax.random.key(0))
    part, _ = speech.parted(sounds(steps=12), 0)
    part = {name: leaf[:5] for name, leaf in part.items()}
    other = {**part, "x": np.where(part["mask"][..., None], part["x"], 7).astype(np.float32)}
    apply = jax.jit(lambda x: layer.apply(params, state, x, mask=part["mask"])[0])
    np.testing.assert_allclose(apply(part["x"]), apply(other["x"]), atol=1e-6)
    for features in (speech.mean_sound, speech.stretches):
        np.testing.assert_array_equal(features(part), features(other))
    row, length = part["x"][0], int(part["mask"][0].sum())
    times = [round(k * (length - 1) / 9) for k in range(10)]
    np.testing.assert_array_equal(speech.stretches(part)[0], np.concatenate(row[times]))


def test_a_higher_voice():
    x = np.arange(8, dtype=np.float32)[None]
    found = [np.asarray(speech.higher(x, bands))[0].tolist() for bands in (0, 2, -3)]
    assert found == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [0, 0, 0, 1, 2, 3, 4, 5],
        [3, 4, 5, 6, 7, 7, 7, 7],
    ]


def test_claims_follow_the_measurements():
    good = dict(zip(speech.METHODS, (0.6, 0.8, 0.85, 0.9), strict=True))
    bad = dict(zip(speech.METHODS, (0.7, 0.78, 0.76, 0.75), strict=True))
    speakers = [speech.Speaker(name, good) for name in ("theo", "lucas")]
    assert all(holds(speech, speakers))
    assert not any(holds(speech, [one._replace(accuracy=bad) for one in speakers]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"speakers": ("teo",)}, "no speaker is called 'teo', did you mean theo"),
        ({"steps": 9}, "steps must be at least 10"),
        ({"updates": 0}, "updates must be at least 1"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        speech.Config(**settings)
