"""Flax's modules as Layers and Layers as Flax's modules."""

from __future__ import annotations

import functools

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dlcore import functional as F
from dlcore import interop, keys, nn, optim, train

pytestmark = pytest.mark.usefixtures("standard_promotion")

X = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)
LABELS = np.arange(16) % 3


class LinenCNN(linen.Module):
    classes: int = 3

    @linen.compact
    def __call__(self, x, train: bool):
        x = linen.Conv(4, (3, 3))(x)
        x = linen.BatchNorm(use_running_average=not train)(x)
        x = linen.Dropout(0.3, deterministic=not train)(linen.relu(x))
        return linen.Dense(self.classes)(x.reshape(x.shape[0], -1))


class NnxCNN(nnx.Module):
    def __init__(self, classes=3, *, rngs):
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.heads = nnx.List([nnx.Linear(256, classes, rngs=rngs)])

    def __call__(self, x):
        x = self.dropout(nnx.relu(self.norm(self.conv(x))))
        return self.heads[0](x.reshape(x.shape[0], -1))


def network():
    return nn.serial(
        nn.conv(1, 4, 3, padding="SAME"),
        nn.batch_norm(4),
        F.relu,
        nn.dropout(0.3),
        nn.flatten,
        nn.linear(256, 3),
    )


LAYERS = {
    "linen": lambda: interop.from_flax(LinenCNN(), jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)),
    "nnx": lambda: interop.from_flax(NnxCNN(rngs=nnx.Rngs(0))),
    "nnx class": lambda: interop.from_flax(functools.partial(NnxCNN, 3)),
}


def drawn(layer, seed=0):
    return jax.jit(layer.init)(jax.random.key(seed))


def shapes(layer):
    return jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(layer.init, jax.random.key(0)))


def evaluate(layer, params, state):
    return jax.jit(layer.apply)(params, state, X)[0]


def train_once(layer, params, state, key=None):
    return jax.jit(functools.partial(layer.apply, train=True))(params, state, X, key=key)


@nnx.jit
def call(module):
    return module(X)


def train_linen(module, variables, dropout):
    apply = functools.partial(module.apply, train=True, mutable="batch_stats")
    return jax.jit(apply)(variables, X, rngs={"dropout": dropout})


def assert_trees_equal(actual, expected, **tolerance):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(functools.partial(np.testing.assert_allclose, **tolerance), actual, expected)


# Flax's modules as Layers


def test_a_linen_module_computes_what_it_did():
    module, layer = LinenCNN(), LAYERS["linen"]()
    variables = jax.jit(functools.partial(module.init, train=False))(jax.random.key(1), X)
    params, state = drawn(layer, seed=1)
    assert_trees_equal(params, variables["params"])
    assert_trees_equal(state, {"batch_stats": variables["batch_stats"]})

    @jax.jit
    def evaluate(params, state):
        y, same = layer.apply(params, state, X)
        assert same is state
        return y

    expected = jax.jit(functools.partial(module.apply, train=False))(variables, X)
    np.testing.assert_allclose(evaluate(params, state), expected, rtol=1e-5, atol=1e-6)

    key = jax.random.key(2)
    y, new = train_once(layer, params, state, key)
    expected, updated = train_linen(module, variables, keys.child(key, "dropout"))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert_trees_equal(new, dict(updated), rtol=1e-6)


def test_an_nnx_module_computes_what_it_did():
    module = NnxCNN(rngs=nnx.Rngs(3))
    layer = interop.from_flax(module)
    params, state = drawn(layer)
    assert_trees_equal(params, nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    assert_trees_equal(state, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)))

    y, new = train_once(layer, params, state, jax.random.key(1))
    assert not np.allclose(y, evaluate(layer, params, state))
    module.dropout.rate = 0.0  # what is dropped differs, the statistics do not
    module.train()
    call(module)
    assert_trees_equal(new, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)), rtol=1e-6)

    module.eval()
    np.testing.assert_allclose(evaluate(layer, params, new), call(module), rtol=1e-5, atol=1e-6)


def test_an_nnx_module_keeps_its_own_variables():
    module = NnxCNN(rngs=nnx.Rngs(3))
    layer = interop.from_flax(module)
    params, _ = layer.init(jax.random.key(0))
    jax.jit(lambda params: jax.tree.map(jnp.zeros_like, params), donate_argnums=0)(params)
    assert np.isfinite(module.conv.kernel.get_value()).all()


def test_an_nnx_class_is_drawn_by_each_key():
    layer = LAYERS["nnx class"]()
    module = NnxCNN(3, rngs=nnx.Rngs(jax.random.key(5)))
    own = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    assert_trees_equal(drawn(layer, seed=5)[0], own, rtol=1e-6)
    both, _ = jax.jit(jax.vmap(layer.init))(jax.random.split(jax.random.key(0)))
    assert not np.allclose(*jax.device_get(both["conv"]["kernel"]))
    assert layer.info.kind == "NnxCNN"


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_a_layer(name):
    """State keeps its structure, keys decide what is dropped, nothing leaks out of jit."""
    layer = LAYERS[name]()
    params, state = drawn(layer)
    assert jax.tree.map(jnp.shape, (params, state)) == shapes(layer)
    apply = jax.jit(layer.apply, static_argnames="train")
    one, new = apply(params, state, X, key=jax.random.key(1), train=True)
    again, _ = apply(params, state, X, key=jax.random.key(1), train=True)
    other, _ = apply(params, state, X, key=jax.random.key(2), train=True)
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    _, same = apply(params, state, X, train=False)
    assert_trees_equal(same, state)
    frozen = nn.freeze(layer, "**/kernel")
    assert any(path.endswith("/kernel") for path in nn.frozen(frozen))


@pytest.mark.parametrize(
    "name",
    [
        "linen",
        pytest.param("nnx", marks=pytest.mark.slow),
        pytest.param("nnx class", marks=pytest.mark.slow),
    ],
)
def test_fit_trains_it(name):
    layer = LAYERS[name]()
    step = train.make_step(train.classification(layer), optim.adam(1e-2))
    examples = {"x": X, "y": LABELS}
    begin = train.train_state(layer, optim.adam(1e-2))
    records = list(train.fit(step, begin, examples, epochs=30, batch_size=8))
    assert records[-1].metrics["loss"] < 0.3 * records[0].metrics["loss"]
    end = records[-1].state
    assert not jax.tree.all(jax.tree.map(np.allclose, begin.state, end.state))


def test_a_module_without_state_or_randomness_has_neither():
    layer = interop.from_flax(linen.Dense(2), X[:, 0, :, 0])
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    assert state == ()
    apply = functools.partial(layer.apply, train=True)
    y, after = jax.eval_shape(apply, params, state, X[:, 0, :, 0])
    assert (y.shape, after) == ((16, 2), ())
    nothing = interop.from_flax(linen.Dropout(0.5), X)
    assert nothing.init(jax.random.key(0)) == ((), ())
    np.testing.assert_array_equal(evaluate(nothing, (), ()), X)
    kept = np.asarray(train_once(nothing, (), (), jax.random.key(0))[0]) != 0
    assert 0.4 < kept.mean() < 0.6


@pytest.mark.parametrize(
    "call",
    [
        lambda self, x, train: x + train,
        lambda self, x, training=False: x + training,
        lambda self, x, *, is_training: x + is_training,
        lambda self, x, deterministic: x + (not deterministic),
        lambda self, x, *, use_running_average=None: x + (not use_running_average),
    ],
)
def test_every_way_to_say_that_it_trains(call):
    linen_module = type("Module", (linen.Module,), {"__call__": call})()
    nnx_module = type("Module", (nnx.Module,), {"__call__": call})()
    for layer in (interop.from_flax(linen_module, X), interop.from_flax(nnx_module)):
        for training in (True, False):
            y, _ = layer.apply((), (), X, train=training)
            np.testing.assert_array_equal(y, X + training)


def test_several_inputs_are_a_tuple():
    class Sum(linen.Module):
        @linen.compact
        def __call__(self, a, b):
            return linen.Dense(2)(a) + b

    layer = interop.from_flax(Sum(), np.ones((1, 3)), np.ones((1, 2)))
    params, state = layer.init(jax.random.key(0))
    y, _ = jax.jit(layer.apply)(params, state, (np.zeros((4, 3)), np.full((4, 2), 5.0)))
    np.testing.assert_array_equal(y, np.full((4, 2), 5.0))


def test_refuses_what_is_no_module():
    with pytest.raises(
        TypeError, match=r"a linen module needs an example .*from_flax\(module, x\)"
    ):
        interop.from_flax(LinenCNN())
    with pytest.raises(TypeError, match="expected a Flax module, got 3"):
        interop.from_flax(3)
    layer = LAYERS["nnx"]()
    with pytest.raises(ValueError, match=r"NnxCNN draws random numbers: apply\(..., key=key"):
        layer.apply(*layer.init(jax.random.key(0)), X, train=True)


# Layers as Flax's modules


def test_a_layer_as_a_linen_module():
    layer, module = network(), interop.to_flax(network())
    variables = jax.jit(module.init)(jax.random.key(0), X)
    assert set(variables) == {"params", "batch_stats"}
    params, state = variables["params"], variables["batch_stats"]
    assert_trees_equal(
        jax.tree.map(jnp.shape, (params, state)),
        shapes(layer),
    )
    y = jax.jit(module.apply)(variables, X)
    np.testing.assert_allclose(y, evaluate(layer, params, state), rtol=1e-6)
    y, updated = train_linen(module, variables, jax.random.key(1))
    other, _ = train_linen(module, variables, jax.random.key(2))
    assert not np.allclose(y, other)
    _, expected = train_once(layer, params, state, jax.random.key(1))
    assert_trees_equal(updated["batch_stats"], expected, rtol=1e-6)


def test_one_step_of_a_layer_inside_linen_is_that_of_the_layer():
    """The dlcore part, before a linen.Dense: same gradients and step as written out by hand."""
    layer = nn.serial(nn.conv(1, 4, 3), nn.batch_norm(4), F.relu, nn.global_avg_pool)

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x, train=False):
            return linen.Dense(3)(interop.to_flax(layer)(x, train))

    module = Net()
    variables = jax.jit(module.init)(jax.random.key(0), X)
    (name,) = set(variables["params"]) - {"Dense_0"}
    optimizer = optax.sgd(0.1)

    def flax_loss(params):
        logits, updated = module.apply(
            {**variables, "params": params}, X, train=True, mutable=["batch_stats"]
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean(), updated

    def hand_loss(params):
        state = variables["batch_stats"][name]
        features, state = layer.apply(params[name], state, X, train=True)
        logits = features @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
        return -jnp.mean(jax.nn.log_softmax(logits)[np.arange(16), LABELS]), state

    def step(loss):
        params = variables["params"]
        (value, state), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        return value, state, gradient, optax.apply_updates(params, updates)

    value, updated, gradient, params = step(flax_loss)
    expected_value, state, expected_gradient, expected_params = step(hand_loss)
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    assert_trees_equal(updated["batch_stats"][name], state, rtol=1e-6)
    assert_trees_equal(gradient, expected_gradient, rtol=1e-4, atol=1e-7)
    assert_trees_equal(params, expected_params, rtol=1e-4, atol=1e-6)


def test_a_layer_as_an_nnx_module():
    layer, module = network(), interop.to_nnx(network(), rngs=nnx.Rngs(0))
    params, state = (
        nnx.to_pure_dict(nnx.state(module, kind))[name]
        for kind, name in ((nnx.Param, "params"), (nnx.BatchStat, "state"))
    )
    assert jax.tree.map(jnp.shape, (params, state)) == shapes(layer)
    trained = call(module)
    _, expected = train_once(layer, params, state, jax.random.key(1))
    new = nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))["state"]
    assert_trees_equal(new, expected, rtol=1e-6)
    assert not np.allclose(trained, call(module))  # dropped anew
    module.eval()
    after = nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))["state"]
    np.testing.assert_allclose(call(module), evaluate(layer, params, after), rtol=1e-6)


def test_a_layer_trains_inside_nnx():
    layer = nn.serial(nn.conv(1, 4, 3), F.relu, nn.global_avg_pool)

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.body = interop.to_nnx(layer, rngs=rngs)
            self.head = nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            return self.head(self.body(x))

    def loss(module):
        return optax.softmax_cross_entropy_with_integer_labels(module(X), LABELS).mean()

    module = Net(nnx.Rngs(0))
    optimizer = nnx.Optimizer(module, optax.adam(0.05), wrt=nnx.Param)

    @nnx.jit
    def step(module, optimizer):
        value, gradient = nnx.value_and_grad(loss)(module)
        optimizer.update(module, gradient)
        return value

    before = jax.tree.map(jnp.array, nnx.to_pure_dict(nnx.state(module.body, nnx.Param)))
    values = [float(step(module, optimizer)) for _ in range(30)]
    assert values[-1] < values[0] - 0.02
    after = nnx.to_pure_dict(nnx.state(module.body, nnx.Param))
    assert not np.allclose(
        before["params"]["conv1"]["kernel"], after["params"]["conv1"]["kernel"], atol=0.01
    )


def test_there_and_back():
    """A Layer made a Flax module made a Layer computes the same."""
    layer = network()
    back = interop.from_flax(interop.to_flax(layer), X)
    params, state = drawn(back)
    expected = evaluate(layer, params, state["batch_stats"])
    np.testing.assert_allclose(evaluate(back, params, state), expected, rtol=1e-6)


# ------------------------------------------------------------------------- side inputs and memory


def test_side_inputs_of_a_flax_module_are_read_by_name():
    x = X.reshape(16, 8, 8)
    mask = np.broadcast_to(np.tril(np.ones((8, 8), bool)), (16, 1, 8, 8))
    linens = linen.MultiHeadDotProductAttention(2)
    nnxs = functools.partial(nnx.MultiHeadAttention, 2, 8, decode=False)
    for module, example in ((linens, (x,)), (nnxs, ())):
        layer = interop.from_flax(module, *example)
        assert "mask" in layer.info.reads
        params, state = layer.init(jax.random.key(0))
        chain = nn.serial(nn.named("a", layer), F.tanh)
        y, _ = chain.apply({"a": params}, {"a": state} if state else (), x, mask=mask)
        if example:
            expected = linens.apply({"params": params}, x, mask=mask)
            np.testing.assert_allclose(y, np.tanh(expected), rtol=1e-4, atol=1e-5)
        plain, _ = layer.apply(params, state, x)
        assert not np.allclose(y, np.tanh(plain))


@pytest.mark.slow
def test_linens_cache_is_memory():
    x = X.reshape(16, 8, 8)
    layer = interop.from_flax(linen.MultiHeadDotProductAttention(2, decode=True), x)
    params, state = layer.init(jax.random.key(0))
    assert state == ()
    memory = nn.memory(layer, 16)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(memory)} == {16}

    @jax.jit
    def by_tokens(x):
        def token(now, x):
            y, now = layer.apply(params, now, x[:, None])
            return now, y[:, 0]

        return jnp.swapaxes(jax.lax.scan(token, memory, jnp.swapaxes(x, 0, 1))[1], 0, 1)

    causal = np.tril(np.ones((8, 8), bool))[None, None]
    expected = linen.MultiHeadDotProductAttention(2).apply({"params": params}, x, mask=causal)
    np.testing.assert_allclose(by_tokens(x), expected, rtol=1e-4, atol=1e-5)
    _, absent = layer.apply(params, state, x[:, :1])
    assert absent == ()


@pytest.mark.slow
def test_what_a_layer_remembers_is_linens_cache():
    x = X.reshape(16, 8, 8)
    layer = nn.serial(nn.batch_norm(8), nn.rnn(8, 4))
    module = interop.to_flax(layer)
    variables = module.init(jax.random.key(0), x)
    assert "cache" not in variables
    whole = module.apply(variables, x)
    cache, ys = nn.memory(layer, 16), []
    for window in (x[:, :3], x[:, 3:]):
        y, updated = module.apply({**variables, "cache": cache}, window, mutable=["cache"])
        cache = updated["cache"]
        ys.append(y)
    np.testing.assert_allclose(np.concatenate(ys, 1), whole, rtol=1e-4, atol=1e-5)


def test_a_layer_as_a_flax_module_takes_side_inputs():
    x = X.reshape(16, 8, 8)
    mask = np.arange(8) < 1 + np.arange(16)[:, None] % 8
    layer = nn.serial(nn.linear(8, 4), nn.rnn(4, 4))
    module = interop.to_flax(layer)
    variables = module.init(jax.random.key(0), x)
    expected, _ = layer.apply(variables["params"], (), x, mask=mask)
    np.testing.assert_allclose(
        module.apply(variables, x, mask=mask), expected, rtol=1e-5, atol=1e-6
    )
    other = interop.to_nnx(layer, rngs=nnx.Rngs(0))
    other.eval()
    params = jax.tree.map(
        lambda one: one.get_value(), other.params, is_leaf=lambda one: isinstance(one, nnx.Variable)
    )
    expected, _ = layer.apply(params, (), x, mask=mask)
    np.testing.assert_allclose(other(x, mask=mask), expected, rtol=1e-5, atol=1e-6)
