"""Parts replaced, chains cut, leaves frozen: paths stay, and so does everything not named."""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import models, nn, tree

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def block():
    return nn.serial(nn.linear(4, 4, bias=False), nn.batch_norm(4), F.tanh)


def make_network(scan=False):
    return nn.serial(
        nn.named("stem", block()),
        nn.named("stage", nn.repeat(nn.residual(block()), 3, first=block(), scan=scan)),
        nn.dropout(0.5),
        nn.named("head", nn.linear(4, 3)),
    )


@pytest.fixture(scope="module")
def network():
    layer = make_network()
    return layer, *layer.init(jax.random.key(0))


@functools.partial(jax.jit, static_argnums=0)
def gradient(layer, params, state):
    """And the new state, in training."""

    def loss(params):
        y, new = layer.apply(params, state, X, key=jax.random.key(1), train=True)
        return jnp.sum(y**2), new

    return jax.grad(loss, has_aux=True)(params)


@functools.partial(jax.jit, static_argnums=0)
def output(layer, params, state):
    return layer.apply(params, state, X)[0]


def test_split_halves_are_the_whole(network):
    layer, params, state = network
    body, head = nn.split(layer, "head")
    assert [name for name, _ in head.info.children] == ["head"]
    features, _ = body.apply(nn.part(body, params), nn.part(body, state), X)
    y, _ = head.apply(nn.part(head, params), nn.part(head, state), features)
    np.testing.assert_array_equal(y, layer.apply(params, state, X)[0])
    assert nn.part(head, state) == ()


def test_replace_reaches_into_every_combinator():
    def forward(parts, x, *, key, train):
        return parts.only(x)

    inner = nn.serial(F.tanh, nn.named("aim", nn.linear(4, 4)))
    containers = {
        "1": nn.repeat(inner, 3, scan=True),
        "body": nn.residual(inner, activation=F.relu),
        "serial1": nn.concat(inner, F.relu),
        "serial1 ": nn.branch(jnp.multiply, inner, F.relu),
        "only": nn.wire(forward, only=inner),
        "serial1  ": nn.serial(inner),
    }
    for name, container in containers.items():
        path = f"{name.strip()}/aim"
        changed = nn.replace(container, path, nn.linear(4, 4, bias=False))
        assert changed.info.kind == container.info.kind
        trees = [one.init(jax.random.key(0)) for one in (container, changed)]
        before, after = (
            {path for path, _ in tree.leaves_with_paths(params)} for params, _ in trees
        )
        assert before - after == {f"{path}/bias"}
        assert after < before
        # Kernels are drawn by path, and biases start at 0: both compute the same.
        old, new = map(output, (container, changed), *zip(*trees, strict=True))
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)


def test_graft_draws_the_new_part_and_keeps_the_rest(network):
    layer, params, state = network
    head = nn.serial(nn.linear(4, 8), nn.batch_norm(8), nn.linear(8, 2))
    new, grown, its_state = nn.graft(jax.random.key(5), layer, params, state, "head", head)
    chex.assert_trees_all_equal_shapes((grown, its_state), new.init(jax.random.key(0)))
    chex.assert_trees_all_equal((grown["head"], its_state["head"]), head.init(jax.random.key(5)))
    chex.assert_trees_all_equal(grown["stem"], params["stem"])
    assert jax.eval_shape(new.apply, grown, its_state, X)[0].shape == (6, 2)
    plain, fewer, nothing = nn.graft(jax.random.key(5), new, grown, its_state, "head", F.relu)
    assert "head" not in fewer
    assert "head" not in nothing
    assert jax.eval_shape(plain.apply, fewer, nothing, X)[0].shape == (6, 4)


def test_a_changed_model_does_not_pass_for_the_published_one():
    model = models.mlp(4, (8,), 3)
    assert model.info.kind == "mlp"
    assert nn.freeze(model, "linear1/*").info.config == model.info.config
    assert nn.replace(model, "linear2", nn.linear(8, 2)).info.kind == "serial"


@pytest.mark.parametrize("scan", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_frozen_leaves_have_no_gradient_and_their_statistics_stand_still(scan):
    layer = make_network(scan)
    params, state = layer.init(jax.random.key(0))
    state = jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(0.5), state)
    frozen = nn.freeze(layer, ("stem/**", "stage/[01]/**"))
    chex.assert_trees_all_equal_structs(frozen.init(jax.random.key(0)), (params, state))
    grads, new = jax.device_get(gradient(frozen, params, state))
    held = tree.mask(grads, ("stem/**", "stage/[01]/**"))
    for (path, leaf), zero in zip(
        tree.leaves_with_paths(grads), jax.tree.leaves(held), strict=True
    ):
        assert np.any(leaf) != zero, path
    still = tree.mask(new, ("stem/**", "stage/[01]/**"))
    for (path, leaf), same in zip(tree.leaves_with_paths(new), jax.tree.leaves(still), strict=True):
        assert np.all(leaf == dict(tree.leaves_with_paths(state))[path]) == same, path
    # In evaluation nothing changes, and thawed it is the layer it was.
    y, same = jax.jit(frozen.apply)(params, state, X)
    np.testing.assert_allclose(y, output(layer, params, state), rtol=1e-6)
    chex.assert_trees_all_equal(same, state)
    thawed = nn.thaw(frozen, "**")
    assert nn.frozen(thawed) == ()
    chex.assert_trees_all_equal(gradient(thawed, params, state), gradient(layer, params, state))


def test_frozen_blocks_run_scanned_like_unrolled():
    params, state = make_network().init(jax.random.key(0))
    both = [
        gradient(nn.freeze(make_network(scan), "stage/1/**"), params, state)
        for scan in (False, True)
    ]
    chex.assert_trees_all_close(*both, rtol=1e-5, atol=1e-6)


def test_blocks_frozen_alike_stay_one_layer():
    """So that scan still compiles them once."""
    frozen = nn.freeze(make_network(scan=True), "stage/**/kernel")
    blocks = [child for _, child in dict(frozen.info.children)["stage"].info.children]
    assert blocks[1] is blocks[2]


def test_freezing_adds_up_and_thawing_takes_away():
    layer = nn.freeze(nn.freeze(make_network(), "stem/**"), ("head/bias", "head/kernel"))
    assert set(nn.frozen(layer)) == {
        "stem/linear1/kernel",
        *(f"stem/batch_norm1/{leaf}" for leaf in ("scale", "offset", "mean", "var")),
        "head/bias",
        "head/kernel",
    }
    assert nn.frozen(nn.thaw(layer, ("stem/**", "head/kernel"))) == ("head/bias",)
    assert "frozen: bias, kernel" in repr(layer)


@pytest.mark.parametrize(
    "mask",
    [
        ("linear1/kernel", "linear1/bias"),
        ["linear1/*"],
        {"linear1": True, "linear2": False},
        {"linear1": {"kernel": True, "bias": True}, "linear2": {"kernel": False, "bias": False}},
        lambda params: {name: name == "linear1" for name in params},
        lambda params: jax.tree.map(lambda leaf: leaf.shape[-1] == 5, params),
    ],
)
def test_what_is_frozen_is_said_in_all_forms_of_a_mask(mask):
    layer = nn.serial(nn.linear(4, 5), F.tanh, nn.linear(5, 3))
    frozen = nn.freeze(layer, mask)
    assert set(nn.frozen(frozen)) == {"linear1/bias", "linear1/kernel"}
    assert nn.frozen(nn.thaw(frozen, mask)) == ()
    assert nn.frozen(nn.thaw(nn.freeze(layer, None), nn.frozen(frozen))) == (
        "linear2/bias",
        "linear2/kernel",
    )


def test_a_tree_of_booleans_is_like_params_and_holds_their_statistics_too():
    frozen = nn.freeze(block(), {"linear1": False, "batch_norm1": True})
    assert nn.frozen(frozen) == ("batch_norm1/offset", "batch_norm1/scale")
    params, state = frozen.init(jax.random.key(0))
    _, new = gradient(frozen, params, state)
    chex.assert_trees_all_equal(new, state)


def test_statistics_alone_can_be_frozen():
    layer = nn.batch_norm(4)
    params, _ = layer.init(jax.random.key(0))
    state = {"mean": np.ones(4, np.float32), "var": np.full(4, 4, np.float32)}
    frozen = nn.freeze(layer, ("mean", "var"))
    grads, new = jax.device_get(gradient(frozen, params, state))
    chex.assert_trees_all_equal(new, state)
    assert np.all(grads["scale"] != 0)
    y, _ = jax.jit(functools.partial(frozen.apply, train=True))(params, state, X)
    np.testing.assert_allclose(y, (X - 1) / np.sqrt(4 + 1e-5), rtol=1e-6)


def test_a_frozen_scale_does_not_stop_the_statistics():
    layer = nn.freeze(nn.batch_norm(4), "scale")
    params, state = layer.init(jax.random.key(0))
    grads, new = jax.device_get(gradient(layer, params, state))
    assert not np.any(grads["scale"])
    assert np.all(grads["offset"] != 0)
    assert np.all(new["mean"] != np.asarray(state["mean"]))


def test_a_layer_of_ones_own_that_cannot_be_rebuilt_says_so():
    child = nn.linear(4, 4)
    own = nn.make(
        "own", lambda key: ({"inner": child.init(key)[0]}, ()), child.apply, (("inner", child),)
    )
    with pytest.raises(ValueError, match="a own cannot be rebuilt of other parts"):
        nn.freeze(own, "inner/kernel")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda net: nn.freeze(net, "stam/**"), '"stam/\\*\\*" fits no leaf'),
        (lambda net: nn.thaw(net, "**/weight"), "fits no leaf"),
        (lambda net: nn.freeze(net, ()), 'the mask says nothing of "head/bias"'),
        (lambda net: nn.replace(net, "heat", F.relu), "has no child 'heat', did you mean 'head'"),
        (lambda net: nn.replace(net, "stem/linear1/x", F.relu), "a linear has no child 'x'"),
        (lambda net: nn.split(net, "nose"), "has no child 'nose'"),
        (lambda net: nn.split(nn.residual(F.relu), "skip"), "split needs a serial, got a residual"),
    ],
)
def test_refuses(network, function, message):
    with pytest.raises(ValueError, match=message):
        function(network[0])
