"""Paths, sizes, norms and masks, against numpy, optax and hand-written tables."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import tree


class Pair(NamedTuple):
    first: object
    second: object


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Point:
    x: object
    y: object


def test_paths_name_keys_indices_and_fields():
    nested = {"conv1": {"kernel": 1}, 7: (2, [3]), 8: Pair(4, None), 9: Point(5, ())}
    nested = {str(key) if isinstance(key, int) else key: value for key, value in nested.items()}
    assert tree.leaves_with_paths(nested) == [
        ("7/0", 2),
        ("7/1/0", 3),
        ("8/first", 4),
        ("9/x", 5),
        ("conv1/kernel", 1),
    ]
    assert tree.leaves_with_paths({0: {1: "one"}}) == [("0/1", "one")]
    assert tree.leaves_with_paths("leaf") == [("", "leaf")]
    assert tree.leaves_with_paths({"a": None, "b": ()}) == []


def test_count_and_size():
    arrays = {
        "a": np.zeros((3, 4), np.float32),
        "b": (jnp.zeros((), jnp.bfloat16), np.zeros((0, 9))),
    }
    shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, {"a": arrays["a"]}))
    keys = jax.random.split(jax.random.key(0), 5)
    assert tree.count(arrays) == 13
    assert tree.size_in_bytes(arrays) == sum(np.asarray(x).nbytes for x in jax.tree.leaves(arrays))
    assert (tree.count(shapes), tree.size_in_bytes(shapes)) == (12, 48)
    assert (tree.count(keys), tree.size_in_bytes(keys)) == (5, jax.random.key_data(keys).nbytes)
    assert (tree.count(()), tree.size_in_bytes(())) == (0, 0)


@pytest.mark.parametrize("compile", [jax.jit, lambda function: function])
def test_global_norm(compile):
    rng = np.random.default_rng(0)
    leaves = {"a": rng.normal(size=(50, 30)), "b": [rng.normal(size=7), rng.normal(size=())]}
    leaves = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), leaves)
    expected = np.sqrt(sum(np.sum(np.float64(x) ** 2) for x in jax.tree.leaves(leaves)))
    np.testing.assert_allclose(compile(tree.global_norm)(leaves), expected, rtol=1e-6)
    norms = jax.jit(lambda leaves: (tree.global_norm(leaves), optax.tree.norm(leaves)))
    np.testing.assert_allclose(*norms(leaves), rtol=1e-6)
    each = jax.tree.map(lambda x: np.linalg.norm(np.ravel(x)), leaves)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(close, compile(tree.leaf_norms)(leaves), each)


def test_global_norm_accumulates_in_float32_or_wider(x64):
    ones = jnp.ones(10_000, jnp.bfloat16)  # in bfloat16 the sum of squares would stop at 256
    global_norm = jax.jit(tree.global_norm)
    norm = global_norm({"a": ones, "b": jnp.ones(1, jnp.float32)})
    assert norm.dtype == jnp.float32
    np.testing.assert_allclose(norm, np.sqrt(10_001), rtol=1e-6)
    wide = global_norm({"a": ones, "b": jnp.full(1, 1e-6, jnp.float64)})
    assert wide.dtype == jnp.float64
    np.testing.assert_allclose(wide, np.sqrt(10_000 + 1e-12), rtol=1e-15)


def test_global_norm_at_the_edges():
    assert tree.global_norm(()) == 0
    slope, norm = jax.jit(jax.grad(tree.global_norm)), jax.jit(tree.global_norm)
    gradient = slope({"a": jnp.zeros(3), "b": jnp.zeros(())})
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradient))
    np.testing.assert_allclose(slope(jnp.array([3.0, 4.0])), [0.6, 0.8])
    assert np.isnan(norm([jnp.zeros(2), jnp.array([jnp.nan])]))
    assert np.isinf(norm([jnp.array([jnp.inf])]))


@pytest.mark.parametrize(("dtype", "ends"), [("float32", (-120, 126)), ("float64", (-1015, 1022))])
def test_global_norm_and_its_gradient_up_to_the_ends_of_the_range(dtype, ends, x64):
    """The norm of 2ᵏx is 2ᵏ times that of x, and its gradient x/‖x‖ the same."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 0.5, (2, 5)).astype(dtype)
    powers = np.linspace(*ends, 12).astype(int)
    scales = (2.0**powers).astype(dtype)

    @jax.jit
    def norms(x, scales):
        norm = jax.value_and_grad(lambda leaves: tree.global_norm([*leaves, jnp.zeros(2, dtype)]))
        return jax.lax.map(lambda s: norm(s * x), scales), jax.vmap(lambda s: norm(s * x))(scales)

    expected = np.sqrt(np.sum(x.astype(np.float64) ** 2))
    for norm, gradient in norms(x, scales):
        np.testing.assert_allclose(norm / scales, expected, rtol=1e-6)
        np.testing.assert_allclose(gradient, np.broadcast_to(x / expected, (12, 2, 5)), rtol=1e-6)


def test_second_derivatives_of_global_norm(x64):
    """(1 − xxᵀ/‖x‖²)/‖x‖, the curvature of a sphere, in both modes."""
    x = np.random.default_rng(1).normal(size=4)
    norm = np.linalg.norm(x)
    expected = (np.eye(4) - np.outer(x, x) / norm**2) / norm
    modes = jax.jacfwd, jax.jacrev
    for hessian in jax.jit(
        lambda x: [outer(inner(tree.global_norm))(x) for outer in modes for inner in modes]
    )(x):
        np.testing.assert_allclose(hessian, expected, rtol=1e-12)


def test_sparsity_is_the_share_of_exact_zeros():
    params = {
        "conv": {"kernel": jnp.zeros((2, 3)), "bias": jnp.asarray([0.0, -0.0, 1e-30, 2.0])},
        "frozen": None,
        "narrow": jnp.zeros(2, jnp.bfloat16),
    }
    assert jax.jit(tree.sparsity)(params) == pytest.approx(10 / 12)
    assert tree.sparsity(params, mask="**/bias") == 0.5
    assert tree.sparsity(params, mask=("**/kernel", "narrow")) == 1.0
    assert tree.sparsity({}) == 0.0
    with pytest.raises(ValueError, match='"conv1" fits no leaf'):
        tree.sparsity(params, mask="conv1")


def test_first_nonfinite_is_the_first_in_tree_order():
    good = {"a": jnp.ones(2), "b": np.arange(3), "k": jax.random.key(0), "z": np.float64(1e300)}
    assert tree.first_nonfinite(good) is None
    assert tree.first_nonfinite(()) is None
    bad = {
        **good,
        "z": jnp.array([1, jnp.nan]),
        "c": {"d": [jnp.ones(2), jnp.array(-jnp.inf, jnp.bfloat16)]},
    }
    assert tree.first_nonfinite(bad) == "c/d/1"


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("kernel", "kernel", True),
        ("kernel", "conv/kernel", False),
        ("*/kernel", "conv/kernel", True),
        ("*/kernel", "kernel", False),
        ("*/kernel", "a/b/kernel", False),
        ("**/kernel", "kernel", True),
        ("**/kernel", "a/b/kernel", True),
        ("**/kernel", "a/kernel/b", False),
        ("encoder/**", "encoder/conv1/bias", True),
        ("encoder/**", "encoder2/conv1/bias", False),
        ("encoder/**/bias", "encoder/bias", True),
        ("a/**/c/**/e", "a/b/c/c/d/e", True),
        ("a/**/c/**/e", "a/b/d/e", False),
        ("conv*/bias", "conv12/bias", True),
        ("conv*/bias", "conv1/2/bias", False),
        ("*", "a/b", False),
        ("**", "a/b", True),
        ("**", "", True),
        ("a.b", "aXb", False),
        ("KERNEL", "kernel", False),
    ],
)
def test_match(pattern, path, fits):
    assert tree.match(pattern, path) is fits


def test_mask_keeps_the_structure():
    params = {
        "conv1": {"kernel": 1, "bias": 2},
        "head": Pair({"kernel": 3}, (None, 4)),
        "empty": {},
    }
    assert tree.mask(params, "**/kernel") == {
        "conv1": {"kernel": True, "bias": False},
        "head": Pair({"kernel": True}, (None, False)),
        "empty": {},
    }
    both = tree.mask(params, ("conv1/**", "head/second/1"))
    assert jax.tree.leaves(both) == [True, True, False, True]
    assert jax.tree.leaves(tree.mask(params, None)) == [True] * 4


def test_a_pattern_that_fits_nothing_is_refused_with_the_nearest_leaves():
    params = {f"conv{i}": {"kernel": 0, "bias": 0} for i in range(1, 5)}
    with pytest.raises(
        ValueError, match=r'"conv1/kernl" fits no leaf.*first: conv1/kernel, .*3 more'
    ):
        tree.mask(params, ("**/bias", "conv1/kernl"))
    with pytest.raises(ValueError, match="fits no leaf"):
        tree.mask((), "**")


def test_partition_and_merge_undo_each_other():
    whole = {"a": {"kernel": np.ones(2), "bias": np.zeros(1)}, "b": [np.ones(3)]}
    chosen = tree.mask(whole, "**/kernel")
    kernels, rest = tree.partition(whole, chosen)
    assert [path for path, _ in tree.leaves_with_paths(kernels)] == ["a/kernel"]
    assert [path for path, _ in tree.leaves_with_paths(rest)] == ["a/bias", "b/0"]
    for merged in (tree.merge(kernels, rest), tree.merge(rest, kernels)):
        assert jax.tree.structure(merged) == jax.tree.structure(whole)
        assert all(map(lambda a, b: a is b, jax.tree.leaves(merged), jax.tree.leaves(whole)))


def test_a_mask_counts_what_partition_left_out():
    kernels, _ = tree.partition({"a": 1.0, "b": 2.0}, {"a": True, "b": False})
    assert tree.mask(kernels, "b") == {"a": False, "b": None}


PARAMS = {
    "conv": {"kernel": np.float32([1.0]), "bias": np.float32([2.0])},
    "head": [np.float32([3.0]), {"kernel": np.float32([4.0])}],
}
FULL = {"conv": {"kernel": True, "bias": False}, "head": [False, {"kernel": True}]}


@pytest.mark.parametrize(
    "mask",
    [
        FULL,
        {"conv": True, "head": False},
        {"conv": False, "head": [True, {"kernel": False}]},
        {"conv": {"kernel": np.bool_(True), "bias": jnp.asarray(False)}, "head": np.asarray(True)},
        True,
        False,
        lambda params: jax.tree.map(lambda leaf: bool(leaf[0] > 2), params),
        lambda params: {"conv": True, "head": False},
    ],
)
def test_a_mask_of_booleans_is_optaxs(mask):
    negated = optax.masked(optax.scale(-1.0), mask)
    theirs, _ = negated.update(PARAMS, negated.init(PARAMS))
    marks = tree.mask(PARAMS, mask)
    ours = jax.tree.map(lambda mark, leaf: -leaf if mark else leaf, marks, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert all(type(mark) is bool for mark in jax.tree.leaves(marks))


@pytest.mark.parametrize(
    "mask",
    ["**/kernel", ("**/kernel",), ["conv/kernel", "head/1/*"], lambda params: "**/kernel", FULL],
)
def test_all_forms_of_a_mask_choose_alike(mask):
    assert tree.mask(PARAMS, mask) == FULL
    chosen, rest = tree.partition(PARAMS, mask)
    assert [float(leaf[0]) for leaf in jax.tree.leaves(chosen)] == [1.0, 4.0]
    assert [float(leaf[0]) for leaf in jax.tree.leaves(rest)] == [2.0, 3.0]
    assert tree.sparsity(jax.tree.map(lambda leaf: leaf - 4, PARAMS), mask=mask) == 0.5


def test_what_optax_has_masked_out_stays_and_needs_no_mark():
    masked = {"conv": optax.MaskedNode(), "head": [PARAMS["head"][0], {"kernel": None}]}
    marked = {"conv": optax.MaskedNode(), "head": [False, {"kernel": None}]}
    assert tree.mask(masked, {"conv": True, "head": [False, {"kernel": True}]}) == marked
    assert tree.mask(masked, {"head": [False, {"kernel": None}]}) == marked
    assert tree.mask(masked, ("conv", "**/kernel")) == marked


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (
            {"conv": {"kernel": True}, "head": False},
            ValueError,
            'nothing of "conv/bias": True or F',
        ),
        ({"conv": True, "haed": False}, ValueError, '"haed" fits no leaf; .*first: head/0, '),
        ({**FULL, "tail": True}, ValueError, '"tail" fits no leaf'),
        ({"conv": True, "head": [True, {"kernel": {"deep": True}}]}, ValueError, "kernel/deep"),
        ((), ValueError, "the mask says nothing of"),
        ({"conv": 1, "head": True}, TypeError, 'mask is 1 at "conv", but a glob, several in a tup'),
        (PARAMS, TypeError, r'mask is float32\[1\] at "conv/bias", but a glob'),
        (3, TypeError, "^mask is 3, but a glob"),
        ({"**/kernel"}, TypeError, r"^mask is \{'\*\*/kernel'\}, but a glob"),
        (["conv/*", True], TypeError, "mask is 'conv/.' at \"0\", but a glob"),
        ({"conv": "*", "head": True}, TypeError, "mask is '.' at \"conv\""),
        (lambda params: "**/kernl", ValueError, 'kernl" fits no leaf'),
    ],
)
def test_a_mask_that_does_not_fit_is_named(mask, error, message):
    with pytest.raises(error, match=message) as caught:
        tree.mask(PARAMS, mask)
    assert "\n" not in str(caught.value)
