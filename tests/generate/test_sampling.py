from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import flops, generate, models, nn
from dlcore.generate.reading import reader

V, CONTEXT = 7, 16


def sharp(layer):
    """Its weights, of which the large are larger, so that tokens differ in probability."""
    params, state = layer.init(jax.random.key(0))
    return jax.tree.map(lambda leaf: leaf * 8 if leaf.ndim == 2 else leaf, params), state


GPT = models.gpt(V, CONTEXT, features=16, heads=2, layers=2)
LSTM = models.lstm_lm(V, 8, 16, layers=2)
WEIGHTS = {"gpt": (GPT, *sharp(GPT)), "lstm": (LSTM, *sharp(LSTM))}
PROMPT = np.array([[1, 2, 3, 4], [4, 0, 6, 6]], np.int32)


@functools.cache
def apply(name):
    return jax.jit(WEIGHTS[name][0].apply)


@pytest.mark.parametrize("name", WEIGHTS)
def test_with_memory_is_without_it_token_by_token(name):
    layer, params, state = WEIGHTS[name]
    found = generate.sample(layer, params, state, PROMPT, 8, temperature=0)
    text, log_ps = PROMPT, []
    padded = np.zeros((2, 12), np.int32)  # of one length, for one program
    for _ in range(8):
        padded[:, : text.shape[1]] = text
        logits, _ = apply(name)(params, state, padded)
        last = np.asarray(logits)[:, text.shape[1] - 1]
        token = last.argmax(-1).astype(np.int32)
        log_ps.append(np.asarray(jax.nn.log_softmax(last))[[0, 1], token])
        text = np.concatenate([text, token[:, None]], 1)
    np.testing.assert_array_equal(found.tokens, text[:, 4:])
    np.testing.assert_allclose(found.log_probabilities, np.stack(log_ps, 1), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.lengths, [8, 8])


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_prompts_of_several_lengths_go_on_as_each_alone(name, side):
    layer, params, state = WEIGHTS[name]
    mask = np.ones((2, 4), bool)
    mask[0, slice(0, 2) if side == "left" else slice(2, 4)] = False
    found = generate.sample(layer, params, state, PROMPT, 5, temperature=0, mask=mask)
    for row in range(2):
        alone = generate.sample(
            layer, params, state, PROMPT[row : row + 1, mask[row]], 5, temperature=0
        )
        np.testing.assert_array_equal(found.tokens[row], alone.tokens[0])


def test_a_step_costs_one_position():
    """In products: no more than a text of one token, and its place among the keys of the cache."""
    layer, params, state = WEIGHTS["gpt"]
    read = reader(layer)
    _, now = jax.eval_shape(lambda *all: read.begin(*all, None, {}), params, state, PROMPT)
    step = flops.count(lambda *all: read.step(*all, {}), params, now, PROMPT[:, 0])
    alone = flops.count(lambda *all: layer.apply(*all)[0], params, state, PROMPT[:, :1])
    among_keys = 2 * 2 * 2 * 2 * CONTEXT * 16  # batch, layers, products, two operations each
    assert alone <= step <= alone + 1.5 * among_keys


def test_a_stream_gives_what_the_loop_gives():
    layer, params, state = WEIGHTS["gpt"]
    rules = {"key": jax.random.key(3), "temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.3}
    whole = generate.sample(layer, params, state, PROMPT[:1], 9, **rules)
    streamed = generate.stream(layer, params, state, PROMPT[:1], 9, **rules)
    assert [*streamed] == whole.tokens[0].tolist()
    stop = int(whole.tokens[0, 3])
    first = whole.tokens[0].tolist().index(stop) + 1
    assert [*generate.stream(layer, params, state, PROMPT[:1], 9, stop=stop, **rules)] == [
        *whole.tokens[0, :first]
    ]


def test_rows_end_at_a_stop_and_are_filled():
    layer, params, state = WEIGHTS["gpt"]
    rules = {"key": jax.random.key(1), "temperature": 1.0}
    free = generate.sample(layer, params, state, PROMPT, 9, **rules)
    stop = int(free.tokens[0, 2])
    ended = generate.sample(layer, params, state, PROMPT, 9, stop=[stop], fill=-1, **rules)
    for row in range(2):
        where = np.flatnonzero(free.tokens[row] == stop)
        length = where[0] + 1 if len(where) else 9
        assert ended.lengths[row] == length
        np.testing.assert_array_equal(ended.tokens[row, :length], free.tokens[row, :length])
        assert (ended.tokens[row, length:] == -1).all()
        assert not ended.log_probabilities[row, length:].any()


def test_the_same_key_draws_the_same_and_another_one_others():
    layer, params, state = WEIGHTS["lstm"]
    draws = [
        generate.sample(layer, params, state, PROMPT, 9, key=jax.random.key(seed), temperature=3)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(draws[0].tokens, draws[1].tokens)
    assert (draws[0].tokens != draws[2].tokens).any()


def test_a_source_goes_with_every_step():
    def forward(parts, x, *, key, train, source):
        return parts.head(parts.attend(parts.embed(x), source=source))

    layer = nn.wire(
        forward,
        embed=nn.embedding(V, 8),
        attend=nn.attention(8, 2, source=3),
        head=nn.linear(8, V),
    )
    params, state = layer.init(jax.random.key(0))
    source = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    found = generate.sample(layer, params, state, PROMPT, 3, temperature=0, source=source)
    logits, _ = layer.apply(params, state, PROMPT, source=source)
    np.testing.assert_array_equal(found.tokens[:, 0], np.asarray(logits)[:, -1].argmax(-1))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"steps": 14}, ValueError, "position is made for 16 steps, got 17"),
        ({"temperature": 1.0}, ValueError, "sample draws: sample(…, key=jax.random.key(0)), or"),
        ({"temperature": -1}, ValueError, "temperature is -1, but ≥ 0"),
        ({"prompt": "To be"}, TypeError, "its numbers are wanted, one row a sequence: tokenizer."),
        (
            {"prompt": PROMPT[0]},
            ValueError,
            "int32[4], but integers [B, T] are wanted, B ≥ 1",
        ),
        (
            {"prompt": PROMPT.astype(np.float32)},
            ValueError,
            "prompt is float32[2, 4], but integers",
        ),
        (
            {"prompt": PROMPT + 3},
            ValueError,
            "has the token 7, but the network knows 0 … 6: is it of",
        ),
        (
            {"prompt": np.zeros((0, 4), int)},
            ValueError,
            "int32[0, 4], but integers [B, T]",
        ),
        (
            {"prompt": [[1, 2], [3]]},
            ValueError,
            "no array [B, T]: fill shorter rows up",
        ),
        ({"prompt": None}, ValueError, "the prompt None is no array [B, T]"),
        ({"stop": 7}, ValueError, "stop has the token 7, but the network knows 0 … 6"),
        ({"stop": [1.5]}, TypeError, "stop is [1.5], but the numbers of tokens are wanted"),
        ({"fill": None}, TypeError, "sample takes an integer as fill, got None: write"),
        ({"top_k": 2.5}, TypeError, "takes an integer or None as top_k, got 2.5: write"),
        ({"top_p": [0.9]}, TypeError, "takes a number or None as top_p, got [0.9]: write"),
        ({"temperature": None}, TypeError, "takes a number as temperature, got None: write"),
        (
            {"key": jax.random.split(jax.random.key(0))},
            ValueError,
            "key is an array of keys key<fry>[2]: give one",
        ),
        (
            {"sourc": np.ones((2, 3))},
            TypeError,
            "gpt does not read 'sourc'. It reads no",
        ),
        ({"stop": "\n"}, TypeError, "stop is '\\n', but the numbers of tokens are wanted"),
        ({"max_new_tokens": 5}, TypeError, "sample has no max_new_tokens"),
        ({"temperature": "1"}, TypeError, "sample takes a number as temperature, got '1': write"),
        ({"steps": 0}, ValueError, "steps is 0, but ≥ 1, an integer, is wanted"),
        ({"mask": np.ones((2, 3), bool)}, ValueError, "mask is bool[2, 3], but bool [2, 4]"),
        ({"mask": [[0, 1, 1, 1]] * 2}, ValueError, "mask is int32[2, 4], but bool [2, 4]"),
        ({"mask": np.zeros((2, 4), bool)}, ValueError, "no real token to begin with"),
        ({"layer": nn.attention(8, 2)}, ValueError, "attention has no memory: it attends to what"),
        ({"layer": GPT.apply}, TypeError, "sample takes a Layer as layer, got the function apply"),
    ],
)
def test_refuses(changes, error, message):
    layer, params, state = WEIGHTS["gpt"]
    how = {"layer": layer, "prompt": PROMPT, "steps": 3, "temperature": 0, **changes}
    if how["layer"] is not layer and error is not TypeError:
        params, state = how["layer"].init(jax.random.key(0))
    call = functools.partial(
        generate.sample, how.pop("layer"), params, state, how.pop("prompt"), how.pop("steps")
    )
    with pytest.raises(error, match=re.escape(message)):
        call(**how)


def test_params_of_another_network_are_refused():
    """A longer network, a larger vocabulary and a shorter table of places would run."""
    layer, params, state = WEIGHTS["gpt"]
    for name, other, told in (
        ("blocks", {"2": params["blocks"]["0"], **params["blocks"]}, "blocks/2/attention"),
        (
            "embedding",
            {"embedding": np.zeros((V + 1, 16), np.float32)},
            "wanted [7, 16], got [8, 16]",
        ),
        ("position", {"embedding": np.zeros((8, 16))}, "wanted [16, 16], got [8, 16]"),
    ):
        with pytest.raises(ValueError, match=r"of another network, .* differ") as caught:
            generate.sample(layer, {**params, name: other}, state, PROMPT, 3, temperature=0)
        assert told in str(caught.value)


def test_a_mask_may_be_a_list():
    layer, params, state = WEIGHTS["gpt"]
    mask = [[True] * 4, [False] + [True] * 3]
    given = generate.sample(layer, params, state, PROMPT, 3, temperature=0, mask=mask)
    same = generate.sample(layer, params, state, PROMPT, 3, temperature=0, mask=np.array(mask))
    np.testing.assert_array_equal(given.tokens, same.tokens)


def test_refuses_a_state_that_remembers():
    layer, params, state = WEIGHTS["lstm"]
    carried = nn.joined(state, nn.memory(layer, 2))
    with pytest.raises(ValueError, match="sample: the state still holds memory"):
        generate.sample(layer, params, carried, PROMPT, 3, temperature=0)


def test_refuses_what_gives_no_logits_and_a_mask_that_nobody_reads():
    pooled = nn.serial(nn.embedding(V, 4), nn.from_function(lambda x: jnp.mean(x, 1), "pool"))
    params, state = pooled.init(jax.random.key(0))
    with pytest.raises(ValueError, match=re.escape("but logits [B, T, V] of the next token")):
        generate.sample(pooled, params, state, PROMPT, 3, temperature=0)
    table = nn.embedding(V, V)
    params, state = table.init(jax.random.key(0))
    with pytest.raises(ValueError, match="the embedding reads no mask: give equal lengths"):
        generate.sample(table, params, state, PROMPT, 3, temperature=0, mask=PROMPT > -1)
    with pytest.raises(ValueError, match="stream goes on with one prompt, got 2"):
        generate.stream(*WEIGHTS["gpt"], PROMPT, 3, temperature=0)
