from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import functional as F
from dlcore import models, nn, optim, tree


def parameters(layer):
    return tree.count(jax.eval_shape(layer.init, jax.random.key(0))[0])


@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        # 784·10 + 10
        ("linear", {}, 7_850),
        ("linear", {"inputs": [32, 32, 3], "classes": 100}, 3_072 * 100 + 100),
        # 784·512 + 512, 512·512 + 512, 512·10 + 10: Keras's mnist_mlp prints the same
        ("mlp", {}, 669_706),
        ("mlp", {"inputs": 2, "hidden": [8, 8], "classes": 1, "dropout": 0.0}, 24 + 72 + 9),
        ("mlp", {"inputs": 5, "hidden": [], "classes": 3}, 18),
        # 156 + 2,416 + 48,120 + 10,164 + 850
        ("lenet5", {}, 61_706),
        # 456 + 2,416 + (16·6·6·120 + 120) + 10,164 + 850
        ("lenet5", {"inputs": [32, 32, 3]}, 83_126),
    ],
)
def test_counts_and_logits(name, arguments, count):
    """From arguments as a weights file holds them."""
    layer = models.build(name, **json.loads(json.dumps(arguments)))
    assert parameters(layer) == count
    inputs = arguments.get("inputs", [28, 28, 1])
    shape = (2, inputs) if isinstance(inputs, int) else (2, *inputs)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    logits, _ = jax.eval_shape(layer.apply, params, state, x)
    assert logits.shape == (2, arguments.get("classes", 10))


def test_he_starts_the_hidden_layers_of_relu():
    params, _ = jax.device_get(models.mlp(1000, (2000,), 10).init(jax.random.key(0)))
    np.testing.assert_allclose(params["linear1"]["kernel"].std(), np.sqrt(2 / 1000), rtol=0.01)
    np.testing.assert_allclose(params["linear2"]["kernel"].std(), np.sqrt(1 / 2000), rtol=0.05)
    params, _ = jax.device_get(models.lenet5().init(jax.random.key(1)))
    np.testing.assert_allclose(params["linear1"]["kernel"].std(), np.sqrt(2 / 400), rtol=0.02)
    np.testing.assert_allclose(params["conv2"]["kernel"].std(), np.sqrt(2 / 150), rtol=0.1)


def test_mlp_takes_another_activation_and_drops_in_training_only():
    layer = models.mlp(4, (50,), 3, activation=F.tanh, dropout=0.5)
    assert [name for name, _ in layer.info.children] == [
        "flatten1",
        "linear1",
        "tanh1",
        "dropout1",
        "linear2",
    ]
    params, state = layer.init(jax.random.key(0))
    x = np.ones((2, 4), np.float32)
    evaluated, trained = jax.jit(
        lambda key: [
            layer.apply(params, state, x, key=key, train=train)[0] for train in (False, True)
        ]
    )(jax.random.key(1))
    assert not np.allclose(evaluated, trained)
    np.testing.assert_allclose(evaluated[0], evaluated[1], rtol=1e-6)
    plain = models.mlp(4, (50,), 3, activation=nn.prelu(), dropout=0.0)
    assert [name for name, _ in plain.info.children][-2:] == ["prelu1", "linear2"]


# What makes a model small, where images of 12×12×1 are not enough.
SMALL = {
    "lenet5_1998": {"inputs": (28, 28, 1)},
    "alexnet": {"inputs": (63, 63, 1)},
    "alexnet_2012": {"inputs": (63, 63, 1)},
    "vgg": {"depth": 11, "inputs": (32, 32, 1), "width": 4},
    "small_vgg": {"width": 4},
    "googlenet": {"inputs": (16, 16, 1), "width": 8},
    "resnet_cifar": {"depth": 8},
    "vit": {"size": "tiny", "patch": 6, "scan": True},
}
QUICK = {"linear", "mlp", "lenet5", "resnet_cifar"}  # others are dear even so
# Their gradients are compared with torch's, in their own files.
HUGE = {"resnet", "convnext_tiny"}
# Those of texts, of sentences, of time and of no classes have tests of their own.
OTHERS = {"rnn_lm", "lstm_lm", "gru_lm", "gpt", "tagger", "forecaster"}
OTHERS |= {"autoencoder", "conv_autoencoder", "vae", "conditional_vae"}
OTHERS |= {"embedding_net", "zero_shot", "encoder", "text_classifier", "seq2seq", "transformer"}


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in models.MODELS
        if name not in HUGE | OTHERS
    ],
)
def test_learns_one_batch(name):
    """By Adam, on one batch: the logits follow the labels."""
    layer = models.build(name, **{"inputs": (12, 12, 1), "classes": 3, **SMALL.get(name, {})})
    params, state = layer.init(jax.random.key(0))
    rng = np.random.default_rng(1)
    x = rng.random((6, *layer.info.config["inputs"])).astype(np.float32)
    labels = np.arange(6) % 3
    optimizer = optim.adam(1e-3)

    @jax.jit
    def step(params, opt_state):
        def loss(params):
            logits, _ = layer.apply(params, state, x)
            return F.cross_entropy(logits, labels), logits

        gradient, logits = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return logits, optax.apply_updates(params, updates), opt_state

    opt_state = optimizer.init(params)
    for _ in range(100):
        logits, params, opt_state = step(params, opt_state)
        if np.array_equal(logits.argmax(-1), labels):
            return
    pytest.fail(f"the classes are {logits.argmax(-1)}, where the labels are {labels}")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mlp", {"hidden": 100}, r"mlp: hidden is 100, .* wanted: hidden=\(100,\)"),
        ("lenet", {}, "no model is called 'lenet', the nearest is 'lenet5'; there are linear, mlp"),
        ("MLP", {}, "the nearest is"),
        ("linear", {"classes": 0}, "linear needs out_features ≥ 1"),
        ("mlp", {"hidden": [0]}, "linear needs out_features ≥ 1"),
        ("mlp", {"dropout": 1.0}, r"lies in \[0, 1\)"),
        ("lenet5", {"inputs": [10, 28, 1]}, r"12×12 at least, got inputs=\[10, 28, 1\]"),
        ("lenet5", {"inputs": 784}, r"needs inputs \(height, width, channels\)"),
        ("lenet5", {"inputs": "abc"}, "lenet5 needs inputs .* got inputs='abc'"),
        ("resnet", {"inputs": [224.5, 224, 3]}, "resnet needs inputs .* got inputs="),
    ],
)
def test_refuses(name, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        models.build(name, **arguments)
