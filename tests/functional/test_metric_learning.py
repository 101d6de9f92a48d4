"""Losses of embeddings beside loops over the triplets and pairs of a batch, and PyTorch's."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads
from scipy.spatial.distance import cdist

from dlcore import functional as F
from tests.budget import examples

B, D = 7, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, D)).astype(np.float32)
LABELS = np.array([0, 1, 0, 2, 1, 0, 3])  # the last is alone in its class
MINING = ["batch_all", "batch_hard", "semi_hard"]
every_mining = pytest.mark.parametrize("mining", MINING)
triplet = jax.jit(F.triplet, static_argnames=("mining", "margin", "squared"))
contrastive = jax.jit(F.contrastive, static_argnames="margin")


def mined(mining, d, positives, negatives):
    """The (positive, negative) of an anchor, whose distances are d."""
    if mining == "batch_all":
        return itertools.product(positives, negatives)
    if mining == "batch_hard":
        return [(max(positives, key=d.__getitem__), min(negatives, key=d.__getitem__))]
    beyond = [[n for n in negatives if d[n] > d[p]] for p in positives]
    return [
        (p, min(further, key=d.__getitem__) if further else max(negatives, key=d.__getitem__))
        for p, further in zip(positives, beyond, strict=True)
    ]


def loop(x, labels, mining, margin, squared, weight):
    """(loss, share of active terms), by loops in float64."""
    d = cdist(x.astype(np.float64), x.astype(np.float64)) ** (2 if squared else 1)
    real = [i for i in range(len(x)) if weight[i] > 0]
    terms = []  # (weight, value)
    for a in real:
        positives = [p for p in real if p != a and labels[p] == labels[a]]
        negatives = [n for n in real if labels[n] != labels[a]]
        for p, n in mined(mining, d[a], positives, negatives) if positives and negatives else ():
            gap = d[a, p] - d[a, n]
            value = np.log1p(np.exp(gap)) if margin is None else max(0, gap + margin)
            terms.append((weight[a], value))
    w, v = np.array(terms).reshape(-1, 2).T
    if not len(w):
        return 0.0, 0.0
    active = w[v > 0].sum()
    over = active if mining == "batch_all" else w.sum()
    return (w * v).sum() / over if over else 0.0, active / w.sum()


@every_mining
@pytest.mark.parametrize("squared", [True, False])
@examples(20)
@given(
    labels=st.lists(st.integers(0, 3), min_size=B, max_size=B),
    weight=st.lists(st.sampled_from([0, 1, 2]), min_size=B, max_size=B),
    seed=st.integers(0, 1000),
)
def test_triplet_is_a_loop_over_triplets(mining, squared, labels, weight, seed):
    x = np.random.default_rng(seed).normal(size=(B, D)).astype(np.float32)
    weight = np.array(weight, np.float32)
    for margin in (0.5, None):
        found = triplet(
            x, np.array(labels), mining=mining, margin=margin, squared=squared, weight=weight
        )
        expected = loop(x, labels, mining, margin, squared, weight)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@examples(20)
@given(
    labels=st.lists(st.integers(0, 3), min_size=B, max_size=B),
    weight=st.lists(st.sampled_from([0, 1, 2]), min_size=B, max_size=B),
)
def test_contrastive_is_a_loop_over_pairs(labels, weight):
    values, counts = [], []
    for i, j in itertools.combinations(range(B), 2):
        d = np.linalg.norm(X[i].astype(np.float64) - X[j])
        values.append(d**2 if labels[i] == labels[j] else max(0, 1.5 - d) ** 2)
        counts.append(weight[i] * weight[j])
    values, counts = np.array(values), np.array(counts)
    total = counts.sum() or 1
    found = contrastive(X, np.array(labels), margin=1.5, weight=np.array(weight, np.float32))
    np.testing.assert_allclose(found.loss, (values * counts).sum() / total, 1e-5, 1e-6)
    np.testing.assert_allclose(found.active, counts[values > 0].sum() / total, 1e-6)


@every_mining
@pytest.mark.parametrize("squared", [True, False])
def test_both_modes_of_differentiation(mining, squared, x64):
    """Against finite differences of the loss; `squared` or not, hinged or soft."""

    @jax.jit
    def losses(x):
        arguments = {"mining": mining, "squared": squared}
        return jnp.stack([F.triplet(x, LABELS, margin=m, **arguments).loss for m in (1.0, None)])

    check_grads(losses, (X.astype(np.float64),), order=1, modes=("fwd", "rev"), eps=1e-6)


def test_contrastive_in_both_modes_of_differentiation(x64):
    loss = jax.jit(lambda x: F.contrastive(x, LABELS, margin=2.0).loss)
    check_grads(loss, (X.astype(np.float64),), order=1, modes=("fwd", "rev"), eps=1e-6)


@every_mining
def test_without_a_triplet_the_loss_is_0(mining):
    """One class, all classes different, or nothing that counts."""
    gradient = jax.jit(
        jax.value_and_grad(lambda x, y, w: F.triplet(x, y, mining=mining, weight=w).loss)
    )
    ones = np.ones(B, np.float32)
    for labels, weight in ((np.zeros(B, int), ones), (np.arange(B), ones), (LABELS, 0 * ones)):
        value, slope = gradient(X, labels, weight)
        assert value == 0
        np.testing.assert_array_equal(slope, np.zeros([B, D]))


def test_distances_are_scipys_and_0_has_a_gradient():
    far = (X + np.array([1e3, 0, 0])).astype(np.float32)  # rounding is about the mean, not 0
    for x in (X, far):
        d = jax.jit(F.distances)(x)
        np.testing.assert_allclose(d, cdist(x, x), rtol=1e-4, atol=2e-3 if x is far else 1e-5)
        np.testing.assert_array_equal(np.diagonal(d), 0)
        np.testing.assert_array_equal(d, d.T)
    equal = np.tile(X[:1], (B, 1))

    @jax.jit
    def slopes(x):
        losses = [functools.partial(F.triplet, squared=False), F.contrastive]
        return [jax.grad(lambda x, loss=loss: loss(x, LABELS).loss)(x) for loss in losses]

    np.testing.assert_array_equal(jax.jit(F.distances)(equal), np.zeros([B, B]))
    assert all(np.isfinite(slope).all() for slope in slopes(equal))


def test_equal_embeddings_stand_at_the_margin():
    equal = np.tile(X[:1], (B, 1))
    for mining in MINING:
        loss, active = triplet(equal, LABELS, mining=mining, margin=0.3)
        np.testing.assert_allclose([loss, active], [0.3, 1], 1e-6)
    np.testing.assert_allclose(triplet(equal, LABELS, margin=None).loss, np.log(2), 1e-6)


def test_torchs_triplet_margin_loss_and_pairs(torch):
    all_triplets = [
        (a, p, n)
        for a, p, n in itertools.product(range(B), repeat=3)
        if a != p and LABELS[a] == LABELS[p] and LABELS[a] != LABELS[n]
    ]
    x = torch.tensor(X, requires_grad=True)
    anchor, positive, negative = (x[list(rows)] for rows in zip(*all_triplets, strict=True))
    margin_loss = torch.nn.TripletMarginLoss(margin=0.7, eps=0, reduction="none")
    each = margin_loss(anchor, positive, negative)
    loss = each.sum() / (each > 0).sum()
    loss.backward()
    value, slope = jax.jit(
        jax.value_and_grad(lambda x: F.triplet(x, LABELS, margin=0.7, squared=False).loss)
    )(X)
    np.testing.assert_allclose(value, loss.item(), 1e-5)
    np.testing.assert_allclose(slope, x.grad, 1e-4, 1e-5)
    one, other = np.triu_indices(B, 1)
    d = torch.nn.functional.pairwise_distance(x[one], x[other], eps=0)
    same = torch.tensor(LABELS[one] == LABELS[other])
    # PyTorch's hinge_embedding_loss is that of Hadsell without the squares.
    pairs = torch.nn.functional.hinge_embedding_loss(d, 2 * same.float() - 1, 1.5, reduction="none")
    np.testing.assert_allclose(
        contrastive(X, LABELS, margin=1.5).loss, (pairs**2).mean().item(), 1e-5
    )


def test_narrow_embeddings_are_computed_in_float32():
    narrow = X.astype(jnp.bfloat16)
    loss, _ = triplet(narrow, LABELS)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, triplet(narrow.astype(np.float32), LABELS).loss, 1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.triplet(X, LABELS, mining="hard"), "mining is 'hard', but must be one of"),
        (lambda: F.triplet(X, LABELS, margin=-1), "margin is -1, but 0 or more is wanted"),
        (lambda: F.contrastive(X, LABELS, margin=0), "margin is 0, but must be positive"),
        (lambda: F.triplet(X[0], LABELS), r"embeddings are \(3,\), but one for each example"),
        (lambda: F.triplet(X, LABELS[1:]), r"labels \(6,\), but one for each of the 7 embeddings"),
        (lambda: F.triplet(X, LABELS, weight=np.ones(3)), r"weight \(3,\), but one for each"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_dtypes_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="labels are float32, but class indices are integers"):
        F.triplet(X, LABELS.astype(np.float32))
    with pytest.raises(TypeError, match="embeddings is int"):
        F.distances(np.ones([2, 2], int))
