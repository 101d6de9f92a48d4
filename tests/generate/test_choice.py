from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import generate
from dlcore.generate.choice import Rules, chosen, penalized
from tests.budget import examples

V = 6
filtered = jax.jit(
    lambda logits, temperature, top_k, top_p, min_p: generate.filtered(
        logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
    )
)


@given(
    logits=st.lists(st.integers(-20, 20), min_size=V, max_size=V, unique=True),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_k=st.integers(1, V + 2),
    top_p=st.sampled_from([0.01, 0.3, 0.77, 0.999]),
    min_p=st.sampled_from([0.001, 0.2, 0.9]),
)
@examples(100)
def test_what_is_left_is_what_the_rules_say(logits, temperature, top_k, top_p, min_p):
    """One by one, from the most probable on."""
    scaled = np.array(logits) / 4 / temperature
    p = np.exp(scaled) / np.exp(scaled).sum()
    left, before = set(), 0.0
    for rank, token in enumerate(np.argsort(-p)):
        if rank < top_k and (rank == 0 or before < top_p) and p[token] >= min_p * p.max():
            left.add(int(token))
        before += p[token]
    row = np.array(logits, np.float32) / 4
    found = np.asarray(filtered(row, temperature, top_k, np.float32(top_p), np.float32(min_p)))
    assert {*np.flatnonzero(np.isfinite(found))} == left
    np.testing.assert_allclose(found[[*left]], scaled[[*left]], rtol=1e-5)


def test_draws_follow_the_probabilities_that_are_left():
    logits = jnp.log(jnp.array([0.5, 0.25, 0.15, 0.1]))
    rules = Rules(top_k=3)
    keys = jax.random.split(jax.random.key(0), 20_000)
    rows = jnp.broadcast_to(logits, (1, 4))
    tokens, log_p = jax.jit(jax.vmap(lambda key: chosen(key, rows, rules)))(keys)
    share = np.bincount(np.ravel(tokens), minlength=4) / len(keys)
    wanted = np.array([0.5, 0.25, 0.15, 0]) / 0.9
    np.testing.assert_allclose(share, wanted, atol=0.015)
    np.testing.assert_allclose(np.exp(log_p[:, 0]), wanted[np.ravel(tokens)], rtol=1e-4)


def test_a_penalty_makes_what_was_there_less_likely():
    logits = np.array([[2.0, -2.0, 1.0]], np.float32)
    seen = np.array([[True, True, False]])
    np.testing.assert_allclose(penalized(logits, seen, 2.0), [[1.0, -4.0, 1.0]])


def test_a_top_p_of_1_leaves_all():
    """Also where the probabilities before a token round to 1."""
    logits = np.linspace(30, -30, 61, dtype=np.float32)
    assert np.isfinite(generate.filtered(logits, top_p=1.0)).all()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0, but 1e-09 or more is wanted"),
        ({"top_k": 0}, "top_k is 0, but ≥ 1 is wanted"),
        ({"top_p": 1.5}, "top_p is 1.5, but in (0, 1] is wanted"),
        ({"top_p": jnp.ones(2)}, "top_p is float32[2], but one number is wanted"),
        ({"min_p": 0.0}, "min_p is 0.0, but in (0, 1] is wanted"),
    ],
)
def test_refuses(rules, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        generate.filtered(jnp.zeros(3), **rules)
