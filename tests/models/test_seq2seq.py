from __future__ import annotations

import warnings

import jax
import numpy as np
import pytest

from dlcore import analysis, generate, models, nn, optim, train, tree
from dlcore import functional as F

V, START, END = 6, 4, 5
LAYERS = {
    "additive": models.seq2seq(V, V, 4, 8),
    "multiplicative": models.seq2seq(V, V, 4, 8, attention="multiplicative"),
    "none": models.seq2seq(V, V, 4, 8, attention=None),
    "transformer": models.transformer(V, V, 8, features=8, heads=2, layers=2),
}
rng = np.random.default_rng(0)
SOURCE = rng.integers(0, 4, (3, 5)).astype(np.int32)
SOURCE_MASK = np.arange(5) < np.array([5, 2, 3])[:, None]
X = np.concatenate([np.full((3, 1), START), rng.integers(0, 4, (3, 3))], 1).astype(np.int32)
LONG = np.zeros((3, 9), np.int32)
every = pytest.mark.parametrize("name", LAYERS)


def sharp(layer):
    """Params that are drawn three times as large, so that what is next is no toss-up."""
    params, state = layer.init(jax.random.key(1))
    return jax.tree.map(lambda leaf: leaf * (3 if leaf.ndim > 1 else 1), params), state


WEIGHTS = {name: sharp(layer) for name, layer in LAYERS.items()}
applied = jax.jit(lambda layer, *given, **side: layer.apply(*given, **side)[0], static_argnums=0)


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        # 28·64 + 2·(64 + 128 + 1)·512; 42·64 + (320 + 128 + 1)·512; 3·128·128 + 2·128;
        # 384·128 + 128; 129·42
        (models.seq2seq(), 199_424 + 2_688 + 229_888 + 49_408 + 49_280 + 5_418),
        (models.transformer(features=16, layers=1), None),
    ],
)
def test_counts(layer, count):
    params, _ = jax.eval_shape(layer.init, jax.random.key(0))
    if count is not None:
        assert tree.count(params) == count
    else:  # 28·16 + 42·16; 12·16² + 13·16 and 16·16² + 19·16 in a block; two norms; logits
        blocks = (12 * 256 + 13 * 16) + (16 * 256 + 19 * 16)
        assert tree.count(params) == 70 * 16 + blocks + 4 * 16 + 17 * 42


@every
def test_what_is_masked_moves_nothing(name):
    """Neither letters behind a source nor what pads x."""
    layer, weights = LAYERS[name], WEIGHTS[name]
    together = applied(layer, *weights, X, source=SOURCE, source_mask=SOURCE_MASK)
    other = np.where(SOURCE_MASK, SOURCE, 3)
    same = applied(layer, *weights, X, source=other, source_mask=SOURCE_MASK)
    np.testing.assert_allclose(together, same, rtol=1e-5, atol=1e-5)
    alone = applied(layer, *weights, X[1:2], source=SOURCE[1:2, :2])
    np.testing.assert_allclose(together[1:2], alone, rtol=1e-4, atol=1e-4)
    short = applied(layer, *weights, X[:, :2], source=SOURCE, source_mask=SOURCE_MASK)
    np.testing.assert_allclose(together[:, :2], short, rtol=1e-4, atol=1e-4)


@every
def test_writing_with_memory_is_reading_all_again(name):
    """Token by token the largest logit, of the whole network applied to all that was written."""
    layer, (params, state) = LAYERS[name], WEIGHTS[name]
    side = {"source": SOURCE, "source_mask": SOURCE_MASK}
    written, steps = X[:, :1], 4
    padded = np.zeros((3, 1 + steps), np.int32)
    for at in range(1, 1 + steps):
        padded[:, :at] = written
        logits = applied(layer, params, state, padded, **side)[:, at - 1]
        written = np.concatenate([written, np.argmax(logits, -1)[:, None]], 1)
    decoder, *own, read = models.encode(layer, params, state, SOURCE, SOURCE_MASK)
    found = generate.sample(decoder, *own, X[:, :1], steps, temperature=0, **read)
    np.testing.assert_array_equal(found.tokens, written[:, 1:])
    best = generate.beam_search(decoder, *own, X[:, :1], steps, beams=1, **read)
    np.testing.assert_array_equal(best.tokens[:, 0], written[:, 1:])


def test_the_transformer_is_torchs(torch):
    """torch.nn.Transformer, norms first, on what is embedded at its place; no bias is 0."""
    layer = models.transformer(V, V, 8, features=8, heads=2, layers=1)
    params, state = layer.init(jax.random.key(2))
    noise = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * noise.standard_normal(leaf.shape).astype(np.float32), params
    )
    sides = {"encoder": params["encoder"], "decoder": params["decoder"]["body"]}
    weights = {}
    for side, own in sides.items():
        weights |= norm(f"{side}.norm", own["norm"])
        bodies = [part["body"] for part in own["blocks"]["0"].values()]
        named = dict(zip(own["blocks"]["0"], bodies, strict=True))
        order = [name for name in ("attention", "source", "mlp") if name in named]
        for number, name in enumerate(order, 1):
            weights |= norm(f"{side}.layers.0.norm{number}", named[name]["layer_norm1"])
        for name, theirs in (("attention", "self_attn"), ("source", "multihead_attn")):
            if name in named:
                weights |= heads(f"{side}.layers.0.{theirs}", named[name]["attention1"])
        for name in ("linear1", "linear2"):
            weights |= linear(f"{side}.layers.0.{name}", named["mlp"][name])
    with warnings.catch_warnings(action="ignore"):  # that norms first are slower
        how = {"dropout": 0.0, "batch_first": True, "norm_first": True}
        network = torch.nn.Transformer(8, 2, 1, 1, 32, **how)
    network.load_state_dict({name: torch.tensor(np.array(one)) for name, one in weights.items()})
    embedded = [
        np.asarray(own["embedding"]["embedding"])[tokens] * np.sqrt(np.float32(8))
        + np.asarray(F.sinusoidal(np.arange(tokens.shape[1]), 8))
        for own, tokens in zip(sides.values(), (SOURCE, X), strict=True)
    ]
    padding = torch.tensor(~SOURCE_MASK)
    expected = network(
        *map(torch.tensor, embedded),
        tgt_mask=torch.triu(torch.ones(4, 4, dtype=torch.bool), 1),
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
    )
    head = params["decoder"]["logits"]
    expected = expected.detach().numpy() @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    found = applied(layer, params, state, X, source=SOURCE, source_mask=SOURCE_MASK)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def norm(name, own):
    return {f"{name}.weight": own["scale"], f"{name}.bias": own["offset"]}


def linear(name, own):
    return {f"{name}.weight": own["kernel"].T, f"{name}.bias": own["bias"]}


def heads(name, own):
    """Attention's projections as torch packs them."""
    parts = [own[part] for part in ("query", "key", "value")]
    return {
        f"{name}.in_proj_weight": np.concatenate([part["kernel"].T for part in parts]),
        f"{name}.in_proj_bias": np.concatenate([part["bias"] for part in parts]),
        **linear(f"{name}.out_proj", own["output"]),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["additive", "transformer"])
def test_it_learns_to_turn_a_word_round_and_looks_where_it_reads(name):
    letters = rng.integers(0, 4, (512, 5)).astype(np.int32)
    turned = letters[:, ::-1]
    first, last = (np.full((512, 1), token, np.int32) for token in (START, END))
    batch = {
        "source": letters,
        "x": np.concatenate([first, turned], 1),
        "y": np.concatenate([turned, last], 1),
    }
    layer = {
        "additive": models.seq2seq(V, V, 16, 32),
        "transformer": models.transformer(V, V, 8, features=32, layers=1),
    }[name]
    optimizer = optim.adam(5e-3)
    state = jax.jit(lambda: train.train_state(layer, optimizer))()
    step = jax.jit(train.make_step(train.classification(layer), optimizer))
    for turn in range(320):
        rows = np.arange(64) + 64 * (turn % 8)
        state, measured = step(state, {column: leaf[rows] for column, leaf in batch.items()})
    assert measured["accuracy"].value() > 0.98
    if name == "additive":
        # The t-th letter is the (4 − t)-th of the source: what is looked at moves to its beginning.

        @jax.jit
        def looked_at(state):
            seen = {"source": letters[:8]}
            _, calls = nn.observed(layer.apply, state.params, state.state, batch["x"][:8], **seen)
            return analysis.attention_weights(calls["decoder/attention"])

        weights = np.asarray(looked_at(state)).mean((0, 1))
        places = (weights[:5] * np.arange(5)).sum(-1)
        assert np.corrcoef(places, np.arange(5)[::-1])[0, 1] > 0.9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: models.seq2seq(attention="dot"),
            "seq2seq: attention is 'dot', but must be one of",
        ),
        (lambda: models.seq2seq(hidden=0), "seq2seq needs hidden ≥ 1"),
        (lambda: models.transformer(heads=3), "features that heads divides"),
        (lambda: models.transformer(d_model=3), r"write models.transformer\(features=3\)"),
        (
            lambda: LAYERS["additive"].apply(*WEIGHTS["additive"], X),
            "seq2seq reads 'source', which was not given: apply",
        ),
        (
            lambda: models.encode(nn.linear(2, 3), {}, (), SOURCE),
            "the linear has no encoder and decoder, as models.seq2seq",
        ),
        (
            lambda: jax.eval_shape(
                LAYERS["transformer"].apply, *WEIGHTS["transformer"], LONG, source=SOURCE
            ),
            "attention is made for 8 steps, got 9",
        ),
    ],
)
def test_refuses(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
