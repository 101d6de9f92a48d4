"""The chapter on sequences: what parts of its experiments compute, and what claims ask for."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from dlcore import data, models, optim, train
from experiments import command
from experiments.choice import BadInput
from experiments.sequences import _ngram, characters, write
from tests.experiments.smoke import holds


def by_hand(text, characters, order):
    """log p of each number, as the docstring's recursion is written."""

    def p(context, character, history):
        if context is None:
            return 1 / characters
        seen = [
            history[i + len(context)]
            for i in range(len(history) - len(context))
            if tuple(history[i : i + len(context)]) == context
        ]
        shorter = p(context[1:] if context else None, character, history)
        if not seen:
            return shorter
        distinct = len(set(seen))
        return (seen.count(character) + distinct * shorter) / (len(seen) + distinct)

    learned, measured = text
    return [
        np.log(p(tuple(measured[max(0, t - order + 1) : t]), measured[t], list(learned)))
        for t in range(len(measured))
    ]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_ngram_is_witten_and_bells(order):
    rng = np.random.default_rng(order)
    text = rng.integers(0, 4, 60), rng.integers(0, 4, 20)
    model = _ngram.fit(text[0], 4, order)
    wanted = by_hand(text, 4, order)
    np.testing.assert_allclose(_ngram.log_likelihood(model, text[1]), wanted, rtol=1e-10)


def test_the_ngram_is_a_distribution():
    rng = np.random.default_rng(0)
    model = _ngram.fit(rng.integers(0, 3, 50), 3, 3)
    total = sum(
        np.exp(_ngram.log_likelihood(model, np.array(word)).sum())
        for word in itertools.product(range(3), repeat=4)
    )
    np.testing.assert_allclose(total, 1, rtol=1e-10)


def test_characters_claims():
    def arm(name, loss, carried=None):
        return characters.Arm(name, 1, 1, [(1.0, loss)], loss, carried, "")

    def judged(rnn, lstm, carried, gpt, ngram):
        arms = [arm("RNN", rnn, 0.0), arm("LSTM", lstm, carried), arm("GPT", gpt)]
        return holds(characters, characters.Measured(arms, ngram))

    assert judged(1.8, 1.7, 1.6, 1.9, 1.67) == [True] * 5
    assert judged(1.6, 1.7, 1.75, 1.65, 1.8) == [False, True, False, False, False]
    assert judged(1.8, 1.7, 1.6, 1.95, 1.67) == [True, False, True, True, True]
    alone = characters.Measured([arm("LSTM", 1.7, 1.6)], 1.67)
    assert holds(characters, alone) == [True, True], "of the LSTM and of the 5-gram"


def test_the_curve_is_the_loss_since_the_point_before():
    """The mean of what each step measures, also across the end of an epoch."""
    layer = models.rnn_lm(3, 2, 2)
    objective = train.classification(layer)
    optimizer = optim.sgd(0.0)
    text = np.random.default_rng(0).integers(0, 3, 26).astype(np.int32)
    windows = data.HostData(data.windows(text, 2, stride=1))
    state = train.train_state(layer, optimizer)
    _, curve = characters.trained(train.make_step(objective, optimizer), state, windows, 3, 24)
    assert [at for at, _ in curve] == [*range(1, 25)]
    rows = np.concatenate([data.batches(24, 3, state.seed, epoch) for epoch in range(3)])
    loss = jax.jit(lambda batch: objective(state.params, (), batch)[0])
    wanted = [loss(windows.gather(one)) for one in rows]
    np.testing.assert_allclose([value for _, value in curve], wanted, rtol=1e-4)


@pytest.fixture
def written(tmp_path):
    """The weights of a small network, with its tokens."""
    letters = data.characters("abcdef \n")
    layer = models.gpt(len(letters), 12, features=8, heads=2, layers=1)
    params, state = jax.jit(layer.init)(jax.random.key(0))
    path = tmp_path / "gpt.safetensors"
    models.save(path, layer, params, state, {"tokenizer": letters.description})
    return path


def test_write_streams_to_the_terminal(written, capsys):
    arguments = ["write", "ab", "--weights", str(written), "--temperature", "0"]
    assert command.main([*arguments, "--tokens", "6"]) == 0
    shown = capsys.readouterr().out
    text = write.run(write.Config("ab", written, 6, temperature=0.0)).text
    assert len(text) == 8
    assert shown.startswith(text + "\n\n")
    assert command.main([*arguments, "--tokens", "100"]) == 0
    assert "11" in capsys.readouterr().out.splitlines()[-2], "to the context's end"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "xyz"}, "the prompt: 'x' is none of the 8 tokens"),
        ({"prompt": "a" * 13}, "the prompt has 13 tokens, the gpt reads 12"),
    ],
)
def test_write_refuses_a_prompt(settings, message, written):
    with pytest.raises(BadInput, match=message):
        write.run(write.Config(weights=written, **settings))


def test_write_refuses_settings_and_other_weights(tmp_path):
    for settings, message in (
        ({"prompt": ""}, "needs a token"),
        ({"temperature": -1.0}, "write: temperature is -1.0"),
        ({"top_p": 2.0}, "top_p is 2.0"),
        ({"tokens": 0}, "tokens must be at least 1"),
    ):
        with pytest.raises(BadInput, match=message):
            write.Config(**settings)
    layer = models.linear(4, 2)
    params, state = jax.jit(layer.init)(jax.random.key(0))
    models.save(tmp_path / "w.safetensors", layer, params, state)
    with pytest.raises(BadInput, match="holds no tokenizer"):
        write.tokenizer(tmp_path / "w.safetensors")


def test_characters_refuses_a_prompt_of_other_letters():
    with pytest.raises(BadInput, match="prompt needs a character"):
        characters.Config(prompt="")
