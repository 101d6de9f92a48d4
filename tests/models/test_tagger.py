"""The tagger: what it reads and gives, and that a CRF on it learns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import models, optim, train, tree
from dlcore.train.metrics import chunks_of

NAMES = ("O", "B-X", "I-X")
B, T, L = 3, 5, 4


def shapes(layer, *side):
    """The shapes of its parameters and outputs."""
    columns = {
        "letters": jax.ShapeDtypeStruct((B, T, L), jnp.uint8),
        "pos": jax.ShapeDtypeStruct((B, T), jnp.int32),
        "mask": jax.ShapeDtypeStruct((B, T), jnp.bool_),
    }
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((B, T), jnp.int32)
    given = {name: columns[name] for name in side}

    def outputs(params, x, side):
        return layer.apply(params, state, x, **side)[0]

    return params, jax.eval_shape(outputs, params, x, given)


def test_sizes_and_outputs():
    params, chain = shapes(models.tagger(), "letters", "mask")
    assert tree.count(params) == 1_193_308
    assert chain.emissions.shape == (B, T, 17)
    layer = models.tagger(9, 8, NAMES, pos=4, crf=False, features=6, hidden=5)
    assert layer.info.reads == {"letters", "pos", "mask"}
    params, logits = shapes(layer, "letters", "pos", "mask")
    assert logits.shape == (B, T, 3)
    # words, spelling, parts of speech, an lstm either way, the head
    recurrent = 2 * ((6 + 32 + 32 + 5) * 20 + 20)
    assert tree.count(params) == 54 + (128 + 1536 + 32) + 128 + recurrent + 33
    layer = models.tagger(9, 8, {"chunk": NAMES, "pos": 4}, features=6, hidden=5)
    params, both = shapes(layer, "letters", "mask")
    assert {name: chain.emissions.shape[-1] for name, chain in both.items()} == {
        "chunk": 3,
        "pos": 4,
    }
    assert [*params["tags"]] == ["chunk", "pos"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({"words": 0}, "needs vocabulary ≥ 1"), ({"tags": ()}, "needs out_features ≥ 1")],
)
def test_refuses(arguments, told):
    with pytest.raises(ValueError, match=told):
        models.tagger(**arguments)


@pytest.mark.slow
def test_it_learns_chunks_beside_parts_of_speech():
    """Tags that follow from the letters, and from the tag before."""
    rng = np.random.default_rng(0)
    letters = rng.integers(1, 5, (300, T, L)).astype(np.uint8)
    mask = np.arange(T) < rng.integers(1, T + 1, (300, 1))
    pos = (letters == 3).any(axis=2).astype(np.int32)
    chunk = np.zeros_like(pos)
    for t in range(T):
        chunk[:, t] = np.where(pos[:, t] == 0, 0, np.where(t and chunk[:, t - 1] > 0, 2, 1))
    layer = models.tagger(2, 5, {"chunk": NAMES, "pos": 2}, features=8, hidden=16, dropout=0.1)
    objective = train.tagging(layer, {"chunk": 1.0, "pos": 0.5}, metrics={"f1": chunks_of(NAMES)})
    optimizer = optim.adam(0.02)
    data = {"x": np.ones_like(pos), "letters": letters, "mask": mask, "chunk": chunk, "pos": pos}
    records = train.fit(
        train.make_step(objective, optimizer),
        train.train_state(layer, optimizer),
        {name: leaf[:250] for name, leaf in data.items()},
        epochs=15,
        batch_size=25,
        validation={name: leaf[250:] for name, leaf in data.items()},
    )
    *_, last = records
    assert last.validation["f1"] > 0.95
    assert last.validation["pos_accuracy"] > 0.95
