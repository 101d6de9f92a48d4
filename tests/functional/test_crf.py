"""Conditional random fields beside the enumeration of all their paths."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import functional as F
from tests.budget import examples

B, T, C = 4, 4, 3


def drawn(seed, masked=True, forbidden=0.0):
    """(a Chain, what is allowed of transitions and first tags, paths): a path is always allowed."""
    rng = np.random.default_rng(seed)
    shapes = (B, T, C), (C, C), (C,), (C,)
    scores = [2 * rng.normal(size=shape).astype(np.float32) for shape in shapes]
    mask = rng.random((B, T)) < 0.6 if masked else np.ones((B, T), bool)
    mask[0] = False  # an empty sentence
    allowed = rng.random((C, C)) >= forbidden, rng.random(C) >= forbidden
    allowed[0][0] = allowed[0][:, 0] = allowed[1][0] = True
    return F.Chain(*scores, mask), allowed, rng.integers(0, C, (B, T)).astype(np.int32)


def score(chain, allowed, row, path):
    """By the definition, of the tags at the real steps of one sentence."""
    emissions = np.asarray(chain.emissions)[row][np.asarray(chain.mask)[row]]
    if not len(path):
        return 0.0
    steps = list(itertools.pairwise(path))
    if not (allowed[1][path[0]] and all(allowed[0][step] for step in steps)):
        return -np.inf
    total = chain.start[path[0]] + chain.end[path[-1]] + sum(chain.transitions[s] for s in steps)
    return total + sum(emissions[t, tag] for t, tag in enumerate(path))


@jax.jit
def everything(chain, allowed, tags):
    chain = chain._replace(
        transitions=F.crf_constrained(chain.transitions, allowed[0]),
        start=F.crf_constrained(chain.start, allowed[1]),
    )
    path, best = F.crf_viterbi(chain)
    found = (F.crf_log_partition(chain), F.crf_score(chain, tags), F.crf_marginals(chain))
    return (*found, path, best, F.crf_score(chain, path))


@given(seed=st.integers(0, 2**16), forbidden=st.sampled_from([0.0, 0.4]))
@examples(60)
def test_they_are_what_enumeration_gives(seed, forbidden):
    """With random masks (first steps, gaps, whole sentences) and constraints."""
    chain, allowed, tags = drawn(seed, forbidden=forbidden)
    found = jax.device_get(everything(chain, allowed, tags))
    partition, scored, marginals, path, best, of_path = found
    for row in range(B):
        real = chain.mask[row]
        paths = list(itertools.product(range(C), repeat=int(real.sum())))
        scores = np.array([score(chain, allowed, row, one) for one in paths])
        weights = np.exp(scores - scores.max())
        expected = scores.max() + np.log(weights.sum())
        np.testing.assert_allclose(partition[row], expected, rtol=1e-5, atol=1e-5)
        own = score(chain, allowed, row, tuple(tags[row][real]))
        np.testing.assert_allclose(scored[row], own, rtol=1e-5, atol=1e-5)
        at_best = tuple(path[row][real])
        assert not path[row][~real].any()
        np.testing.assert_allclose(best[row], scores.max(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(of_path[row], best[row], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(score(chain, allowed, row, at_best), best[row], atol=1e-5)
        shares = np.zeros((T, C))
        for t, place in enumerate(np.flatnonzero(real)):
            for one, weight in zip(paths, weights / weights.sum(), strict=True):
                shares[place, one[t]] += weight
        np.testing.assert_allclose(marginals[row], shares, atol=2e-5)


def test_both_modes_of_differentiation_are_central_differences(x64):
    chain, allowed, tags = drawn(3, forbidden=0.3)
    tags = np.zeros_like(tags)  # a path that is allowed
    point = tuple(np.asarray(one, np.float64) for one in chain[:4])
    direction = tuple(np.random.default_rng(1).normal(size=one.shape) for one in point)

    @jax.jit
    def measured(point, direction):
        def loss(*point):
            emissions, transitions, start, end = point
            transitions = F.crf_constrained(transitions, allowed[0])
            start = F.crf_constrained(start, allowed[1])
            one = F.Chain(emissions, transitions, start, end, chain.mask)
            return jnp.sum(jnp.sin(F.crf_loss(one, tags))) + jnp.sum(F.crf_viterbi(one)[1])

        value, slope = jax.jvp(loss, point, direction)
        gradient = jax.grad(loss, (0, 1, 2, 3))(*point)
        return value, slope, gradient

    _, slope, gradient = measured(point, direction)
    step = 1e-6
    above, below = (
        measured(tuple(p + sign * step * d for p, d in zip(point, direction, strict=True)), point)
        for sign in (1, -1)
    )
    expected = (above[0] - below[0]) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)
    np.testing.assert_allclose(sum(map(np.vdot, gradient, direction)), expected, rtol=1e-6)
    assert not np.asarray(gradient[1])[~allowed[0]].any()
    assert not np.asarray(gradient[0])[~chain.mask].any()


def test_what_is_not_finite_under_the_mask_stays_there_and_padding_changes_nothing():
    chain, _, tags = drawn(5)
    bad = np.where(chain.mask[..., None], chain.emissions, np.nan)
    wrong = np.where(chain.mask, tags, 99)

    @jax.jit
    def measured(emissions, tags, mask):
        def loss(emissions):
            one = chain._replace(emissions=emissions, mask=mask)
            return jnp.sum(F.crf_loss(one, tags)), F.crf_viterbi(one)

        return jax.value_and_grad(loss, has_aux=True)(emissions)

    one = measured(bad, wrong, chain.mask)
    other = measured(chain.emissions, tags, chain.mask)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    first = np.arange(T) < chain.mask.sum(1)[:, None]  # the same, without gaps
    at = np.argsort(~chain.mask, axis=1, kind="stable")
    packed = np.take_along_axis(chain.emissions, at[..., None], 1)
    together = measured(packed, np.take_along_axis(tags, at, 1), first)
    np.testing.assert_allclose(together[0][0], other[0][0], rtol=1e-5)


def test_scores_of_each_sentence_sequences_of_no_steps_and_narrow_numbers():
    chain, _, tags = drawn(7)
    each = [np.stack([one * (1 + k) for k in range(B)]) for one in chain[1:4]]
    one = [chain.emissions[2:3], *(part[2] for part in each), chain.mask[2:3]]
    narrow = [jnp.asarray(part, jnp.bfloat16) for part in chain[:4]]

    @jax.jit
    def measured(each, one, narrow, none):
        return (
            F.crf_loss(F.Chain(chain.emissions, *each, chain.mask), tags)[2:3],
            F.crf_loss(F.Chain(*one), tags[2:3]),
            F.crf_log_partition(F.Chain(*narrow)),
            F.crf_loss(chain._replace(emissions=none, mask=None), tags[:, :0]),
            F.crf_viterbi(chain._replace(emissions=none, mask=None)),
        )

    together, alone, of_narrow, nothing, (path, best) = measured(
        each, one, narrow, chain.emissions[:, :0]
    )
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert of_narrow.dtype == jnp.float32
    assert (nothing.tolist(), path.shape, best.tolist()) == ([0.0] * B, (B, 0), [0.0] * B)


def test_a_path_that_is_not_allowed_has_no_finite_loss():
    chain, allowed, tags = drawn(2, masked=False)
    allowed[0][1, 2] = False
    tags[1] = 1, 2, 0, 0

    @jax.jit
    def loss(chain):
        bound = chain._replace(transitions=F.crf_constrained(chain.transitions, allowed[0]))
        return F.crf_loss(bound, tags)

    assert np.isposinf(loss(chain)[1])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda c, t: F.crf_viterbi(c._replace(emissions=c.emissions[0])), r"are \[B, T, C\], got"),
        (lambda c, t: F.crf_viterbi(c._replace(end=c.end[:2])), r"end are \[2\], but \[3\], or"),
        (lambda c, t: F.crf_viterbi(c._replace(mask=np.float32(c.mask))), "mask is float32"),
        (lambda c, t: F.crf_viterbi(c._replace(mask=c.mask[:, 1:])), r"but bool\[4, 4\] is wanted"),
        (lambda c, t: F.crf_score(c, np.float32(t)), "tags are float32"),
        (lambda c, t: F.crf_score(c, t[:, :2]), r"int32\[4, 2\], but integers \[4, 4\]"),
        (lambda c, t: F.crf_score(c, t + C), "must be one of the 3 tags, 0 … 2"),
        (
            lambda c, t: F.crf_viterbi(c._replace(start=np.arange(3))),
            "start is int32, but floating",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, told):
    chain, _, tags = drawn(0)
    with pytest.raises((ValueError, TypeError), match=told):
        call(chain, tags)


def test_a_tag_that_is_none_is_nan_under_jit():
    chain, _, tags = drawn(0, masked=False)
    tags[1, 1] = C
    assert np.flatnonzero(np.isnan(jax.jit(F.crf_score)(chain, tags))).tolist() in ([1], [0, 1])
