"""One table of layers, each crossed with the properties that every Layer has."""

from __future__ import annotations

import collections
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import nn, tree

VOLUME, IMAGE, SEQUENCE, VECTOR = (2, 4, 3, 5, 2), (3, 6, 5, 4), (3, 5, 4), (3, 4)


def block():
    return nn.serial(nn.linear(4, 4), nn.batch_norm(4), F.tanh, nn.dropout(0.3))


def forward(parts, x, *, key, train):
    return parts.decoder(F.tanh(parts.encoder(x))) + x @ parts.encoder.params["kernel"]


def chained(chain):
    """What a CRF gives, as one array."""
    return chain.emissions[:, :, None] + chain.transitions[:, None] + chain.start[:, None, None]


LAYERS = {
    "linear": (lambda: nn.linear(4, 4), VECTOR),
    "conv": (lambda: nn.conv(4, 2, 3), IMAGE),
    "conv strided": (lambda: nn.conv(4, 6, (3, 2), stride=2, padding=((1, 0), (2, 1))), IMAGE),
    "conv in groups": (
        lambda: nn.conv(4, 6, 2, padding="SAME", dilation=2, groups=2, bias=False),
        IMAGE,
    ),
    "conv reflecting": (lambda: nn.conv(4, 2, 3, padding=(2, 1), padding_mode="reflect"), IMAGE),
    "depthwise": (lambda: nn.depthwise(4, 3, multiplier=2, padding="SAME"), IMAGE),
    "conv_transpose": (lambda: nn.conv_transpose(4, 3, 3, stride=2, padding="SAME"), IMAGE),
    "conv_transpose in groups": (
        lambda: nn.conv_transpose(4, 6, 2, stride=(1, 3), padding=(1, 0), dilation=2, groups=2),
        IMAGE,
    ),
    "conv_transpose beyond": (
        lambda: nn.conv_transpose(4, 3, 3, stride=2, padding=((0, -1), (1, -1)), bias=False),
        IMAGE,
    ),
    "locally_connected": (
        lambda: nn.locally_connected(4, 3, (3, 2), size=IMAGE[1:3], stride=2, padding=(1, 0)),
        IMAGE,
    ),
    "squeeze_excitation": (lambda: nn.squeeze_excitation(4, 2), IMAGE),
    "local_response_norm": (lambda: nn.local_response_norm(3, alpha=0.2, k=1.0), IMAGE),
    "max_pool": (lambda: nn.max_pool(2), IMAGE),
    "max_pool overlapping": (lambda: nn.max_pool(3, stride=2, padding=1), IMAGE),
    "max_pool of volumes": (
        lambda: nn.max_pool((2, 1, 3), padding=((1, 0), (0, 0), (2, 0)), dilation=(2, 1, 1)),
        VOLUME,
    ),
    "avg_pool of volumes": (lambda: nn.avg_pool((2, 2, 2), stride=1, padding="SAME"), VOLUME),
    "avg_pool": (lambda: nn.avg_pool((2, 3), padding="SAME", count_include_pad=False), IMAGE),
    "adaptive_avg_pool": (lambda: nn.adaptive_avg_pool((4, 7)), IMAGE),
    "adaptive_max_pool": (lambda: nn.adaptive_max_pool((4, 7)), IMAGE),
    "global_avg_pool": (lambda: nn.as_layer(nn.global_avg_pool), IMAGE),
    "global_max_pool": (lambda: nn.as_layer(nn.global_max_pool), IMAGE),
    "flatten": (lambda: nn.as_layer(nn.flatten), IMAGE),
    "unflatten": (lambda: nn.unflatten((2, 1, 3)), (4, 6)),
    "flatten from an axis": (lambda: nn.as_layer(functools.partial(nn.flatten, axis=2)), IMAGE),
    "dropout": (lambda: nn.dropout(0.4), IMAGE),
    "spatial_dropout": (lambda: nn.spatial_dropout(0.4), IMAGE),
    "stochastic_depth": (lambda: nn.stochastic_depth(0.4), IMAGE),
    "gaussian_noise": (lambda: nn.gaussian_noise(0.3), IMAGE),
    "dropconnect": (lambda: nn.dropconnect(4, 3, 0.4), SEQUENCE),
    "layer_scale": (lambda: nn.layer_scale(4, 0.5), IMAGE),
    "attention": (lambda: nn.attention(4, 2), SEQUENCE),
    "crf": (lambda: nn.serial(nn.crf(4), chained), SEQUENCE),
    "embedding": (lambda: nn.embedding(6, 4, padding=0), (3, 5)),
    "rnn": (lambda: nn.rnn(4, 3, recurrent_dropout=0.4), SEQUENCE),
    "rnn relu": (lambda: nn.rnn(4, 3, activation="relu", reverse=True, bias=False), SEQUENCE),
    "lstm": (lambda: nn.lstm(4, 3, recurrent_dropout=0.4), SEQUENCE),
    "lstm with all": (lambda: nn.lstm(4, 3, peepholes=True, projection=2), SEQUENCE),
    "lstm in a stack": (
        lambda: nn.lstm(4, 3, layers=2, bidirectional=True, dropout=0.3),
        SEQUENCE,
    ),
    "lstm_cell": (lambda: nn.lstm_cell(4, 3), VECTOR),
    "gru": (lambda: nn.gru(4, 3, recurrent_dropout=0.4), SEQUENCE),
    "gru before": (lambda: nn.gru(4, 3, reset="before"), SEQUENCE),
    "recurrent": (lambda: nn.recurrent(nn.serial(nn.gru_cell(4, 3), nn.dropout(0.3))), SEQUENCE),
    "layer_norm": (lambda: nn.layer_norm(4), SEQUENCE),
    "rms_norm": (lambda: nn.rms_norm(4), SEQUENCE),
    "group_norm": (lambda: nn.group_norm(4, 2, offset=False), IMAGE),
    "instance_norm": (lambda: nn.instance_norm(4, scale=False), IMAGE),
    "batch_norm": (lambda: nn.batch_norm(4), IMAGE),
    "batch_norm plain": (lambda: nn.batch_norm(4, momentum=0.5, scale=False, offset=False), VECTOR),
    "prelu": (nn.prelu, IMAGE),
    "prelu by channel": (lambda: nn.prelu(4, initial=-0.5), VECTOR),
    "prelu by element": (lambda: nn.prelu(SEQUENCE[1:]), SEQUENCE),
    "rbf": (lambda: nn.rbf(4, 4), VECTOR),
    "rbf gaussian": (lambda: nn.rbf(4, 4, form="gaussian", beta=0.2), VECTOR),
    "standardize": (lambda: nn.standardize((0.1, 0.2, 0.3, 0.4), 0.5), IMAGE),
    "a function": (lambda: nn.as_layer(F.tanh), VECTOR),
    "serial": (block, VECTOR),
    "serial of nothing": (nn.serial, VECTOR),
    "residual": (lambda: nn.residual(nn.batch_norm(4), nn.linear(4, 4)), VECTOR),
    "branch": (lambda: nn.branch(jnp.multiply, nn.linear(4, 4), nn.linear(4, 4)), VECTOR),
    "concat": (lambda: nn.concat(nn.linear(4, 4), nn.dropout(0.5), F.tanh), VECTOR),
    "repeat": (lambda: nn.repeat(block(), 2), VECTOR),
    "repeat by scan": (lambda: nn.repeat(block(), 2, scan=True), VECTOR),
    "wire": (lambda: nn.wire(forward, encoder=nn.linear(4, 4), decoder=nn.linear(4, 4)), VECTOR),
}


# Those whose x are integers, and how many there are of them.
INTEGERS = {"embedding": 6}

# Other settings of a layer that is there already.
VARIANTS = {
    "rnn relu",
    "lstm with all",
    "lstm_cell",
    "gru before",
    "conv strided",
    "conv in groups",
    "conv reflecting",
    "conv_transpose in groups",
    "conv_transpose beyond",
    "max_pool overlapping",
    "avg_pool of volumes",
    "flatten from an axis",
    "adaptive_max_pool",
    "global_max_pool",
    "batch_norm plain",
    "prelu by channel",
    "prelu by element",
    "rbf gaussian",
}
of_each_layer = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in VARIANTS else name for name in LAYERS],
)


@functools.cache
def made(name):
    make, shape = LAYERS[name]
    layer = make()
    params, state = layer.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    if name in INTEGERS:
        return layer, params, state, rng.integers(0, INTEGERS[name], shape, dtype=np.int32)
    return layer, params, state, rng.normal(size=shape).astype(np.float32)


SEED = np.uint32(1)
TRACES = collections.Counter()  # by name, of what `trained` gives


def train_apply(layer):
    """One application in training as a function of (params, state, x, seed)."""
    return lambda params, state, x, seed=SEED: layer.apply(
        params, state, x, key=jax.random.key(seed), train=True
    )


@functools.cache
def trained(name):
    """The same, compiled once."""
    apply = train_apply(made(name)[0])

    @jax.jit
    def counted(params, state, x, seed):
        TRACES[name] += 1
        return apply(params, state, x, seed)

    return counted


# By NumPy, which compiles nothing.


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype) if floats(leaf) else leaf, tree)


def scaled(tree, factor):
    return jax.tree.map(
        lambda leaf: np.asarray(leaf) * np.float32(factor) if floats(leaf) else leaf, tree
    )


def floats(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def moved(tree):
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), tree)


def stacked(*trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


@of_each_layer
def test_jit_changes_nothing_traces_once_and_keeps_the_structure_of_the_state(name):
    layer, params, state, x = made(name)
    for _ in range(2):
        y, new_state = trained(name)(params, state, x, SEED)
        chex.assert_trees_all_equal_shapes_and_dtypes(state, new_state)
        chex.assert_trees_all_close(
            (y, new_state), train_apply(layer)(params, state, x), rtol=1e-4, atol=1e-5
        )
        params, state = scaled(params, 0.9), new_state
    assert TRACES[name] == 1


@of_each_layer
def test_vmap_changes_nothing(name):
    """Over members that differ in parameters, states, inputs and keys."""
    layer, *arguments = made(name)
    members = [(*scaled(arguments, i), np.uint32(i)) for i in (1, 2)]
    together = jax.jit(jax.vmap(train_apply(layer)))(*stacked(*members))
    alone = [trained(name)(*member) for member in members]
    chex.assert_trees_all_close(stacked(*alone), together, rtol=1e-4, atol=1e-5)


@of_each_layer
def test_evaluation_changes_nothing_and_needs_no_key(name):
    layer, params, state, x = made(name)
    y, same = layer.apply(params, state, x)
    assert jax.tree.structure(same) == jax.tree.structure(state)
    assert all(map(lambda a, b: a is b, jax.tree.leaves(same), jax.tree.leaves(state)))
    keyed, _ = layer.apply(params, state, x, key=jax.random.key(2))
    np.testing.assert_array_equal(y, keyed)


@of_each_layer
def test_gradient_is_the_central_difference(name, x64):
    """Along a random direction of (params, x), in training: the mask stays while they move."""
    layer, params, state, x = made(name)
    point = cast((params, x) if floats(x) else (params,), np.float64)
    direction = moved(point)
    epsilon = 1e-6

    @jax.jit
    @jax.value_and_grad
    def loss(point):
        y, _ = train_apply(layer)(point[0], state, point[1] if floats(x) else x)
        return jnp.sum(jnp.sin(y))

    _, gradient = loss(point)
    above, below = (
        loss(jax.tree.map(lambda p, d, step=step: p + step * d, point, direction))[0]
        for step in (epsilon, -epsilon)
    )
    slope = sum(map(np.vdot, jax.tree.leaves(gradient), jax.tree.leaves(direction)))
    np.testing.assert_allclose(slope, (above - below) / (2 * epsilon), rtol=1e-6, atol=1e-8)


@of_each_layer
def test_init_is_a_function_of_the_key_also_under_vmap(name):
    layer, params, state, _ = made(name)
    if not jax.tree.leaves((params, state)):
        assert layer.init(jax.random.key(7)) == ((), ())
        return
    members = jax.vmap(layer.init)(jax.vmap(jax.random.key)(np.uint32([0, 7])))
    first = jax.tree.map(lambda leaf: np.asarray(leaf)[0], members)
    chex.assert_trees_all_close(first, (params, state), rtol=1e-6)
    for path, leaf in tree.leaves_with_paths(jax.device_get(members[0])):
        random = path.endswith(("kernel", "centers", "embedding", "projection"))
        assert np.array_equal(leaf[0], leaf[1]) != random, path


@of_each_layer
def test_bfloat16_stays(name):
    layer, params, state, x = made(name)
    params, x = cast((params, x), jnp.bfloat16)
    assert jax.eval_shape(layer.apply, params, state, x)[0].dtype == jnp.bfloat16
    y, new_state = jax.jit(train_apply(layer))(params, state, x)
    assert y.dtype == jnp.bfloat16
    chex.assert_trees_all_equal_shapes_and_dtypes(state, new_state)
    wide, _ = trained(name)(*cast((params, state, x), np.float32), SEED)
    np.testing.assert_allclose(np.asarray(y, np.float32), wide, rtol=0.1, atol=0.1)


MANY = (16, 32, 32, 4)


@pytest.mark.parametrize(
    "layer",
    [
        nn.linear(4, 2),
        nn.conv(4, 2, 1),
        nn.conv_transpose(4, 2, 1),
        nn.layer_scale(4, 1.0),
        nn.prelu(4),
        nn.prelu(),
        nn.rbf(4, 2),
        nn.batch_norm(4),
        nn.group_norm(4, 2),
        nn.rms_norm(4),
    ],
    ids=lambda layer: layer.info.kind,
)
def test_gradients_in_bfloat16_are_summed_in_float32(layer):
    """Over 16,384 places, where a sum in bfloat16 has long come to a stand."""
    params, state = layer.init(jax.random.key(0))
    rng = np.random.default_rng(2)
    params, x = cast((params, rng.normal(size=MANY)), jnp.bfloat16)

    @jax.jit
    def gradient(params, x):
        def loss(params):
            y, _ = layer.apply(params, state, x, train=True)
            return jnp.sum(jnp.square(y.astype(jnp.float32) + 1))

        return jax.grad(loss)(params)

    wide = gradient(*cast((params, x), np.float32))
    chex.assert_trees_all_close(cast(gradient(params, x), np.float32), wide, rtol=0.05)


@pytest.mark.parametrize("name", ["dropout", "serial", "concat", "repeat by scan", "wire"])
def test_gradient_is_the_same_when_recomputed(name):
    layer, params, state, x = made(name)
    apply = train_apply(layer)
    plain, recomputed = jax.jit(
        lambda params, x: [
            jax.grad(lambda params, x, form=form: jnp.sum(form(params, state, x)[0] ** 2), (0, 1))(
                params, x
            )
            for form in (apply, jax.checkpoint(apply))
        ]
    )(params, x)
    chex.assert_trees_all_close(plain, recomputed, rtol=1e-5, atol=1e-5)


@of_each_layer
def test_refuses_a_raw_key_and_prints(name):
    layer, *_ = made(name)
    with pytest.raises(TypeError, match=r"write jax.random.key\(0\)"):
        layer.init(np.zeros(2, np.uint32))
    assert repr(layer).startswith(layer.info.kind)
    assert len(repr(layer).splitlines()) == len(list(descendants(layer)))


def descendants(layer):
    yield layer
    for _, child in layer.info.children:
        yield from descendants(child)
