from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import models, nn, tree


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


def test_lenet5_equals_torch():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    layer = models.lenet5()
    params, state = layer.init(jax.random.key(0))
    reference = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 5, padding=2),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(6, 16, 5),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(400, 120),
        torch.nn.ReLU(),
        torch.nn.Linear(120, 84),
        torch.nn.ReLU(),
        torch.nn.Linear(84, 10),
    )
    names = {0: "conv1", 3: "conv2", 7: "linear1", 9: "linear2", 11: "linear3"}
    with torch.no_grad():
        for index, name in names.items():
            kernel = np.asarray(params[name]["kernel"])
            if name == "linear1":  # torch flattens [C, H, W]
                kernel = kernel.reshape(5, 5, 16, 120).transpose(2, 0, 1, 3).reshape(400, 120)
            axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
            reference[index].weight.copy_(torch.tensor(kernel.transpose(axes).copy()))
            reference[index].bias.copy_(torch.tensor(np.array(params[name]["bias"])))
    x = np.random.default_rng(0).random((4, 28, 28, 1)).astype(np.float32)
    labels = np.array([3, 1, 4, 1])
    logits = reference(torch.tensor(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(
        layer.apply(params, state, x)[0], logits.detach().numpy(), rtol=1e-4, atol=1e-4
    )

    def loss(params):
        scores = jax.nn.log_softmax(layer.apply(params, state, x)[0])
        return -jnp.mean(scores[np.arange(4), labels])

    torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
    np.testing.assert_allclose(
        jax.jit(jax.grad(loss))(params)["conv1"]["kernel"],
        reference[0].weight.grad.numpy().transpose(2, 3, 1, 0),
        rtol=1e-4,
        atol=1e-5,
    )


def test_he_starts_the_hidden_layers_of_relu():
    params, _ = models.mlp(1000, (2000,), 10).init(jax.random.key(0))
    np.testing.assert_allclose(params["linear1"]["kernel"].std(), np.sqrt(2 / 1000), rtol=0.01)
    np.testing.assert_allclose(params["linear2"]["kernel"].std(), np.sqrt(1 / 2000), rtol=0.05)
    params, _ = models.lenet5().init(jax.random.key(1))
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
    x = jnp.ones((2, 4))
    evaluated, _ = layer.apply(params, state, x)
    trained, _ = layer.apply(params, state, x, key=jax.random.key(1), train=True)
    assert not np.allclose(evaluated, trained)
    np.testing.assert_allclose(evaluated[0], evaluated[1], rtol=1e-6)
    plain = models.mlp(4, (50,), 3, activation=nn.prelu(), dropout=0.0)
    assert [name for name, _ in plain.info.children][-2:] == ["prelu1", "linear2"]


@pytest.mark.parametrize("model", models.MODELS.values())
def test_learns_one_batch(model):
    """Plain gradient descent on one batch: the logits follow the labels."""
    layer = model((12, 12, 1), classes=3)
    params, state = layer.init(jax.random.key(0))
    rng = np.random.default_rng(1)
    x, labels = rng.random((12, 12, 12, 1)).astype(np.float32), np.arange(12) % 3

    @jax.jit
    def step(params):
        def loss(params):
            scores = jax.nn.log_softmax(layer.apply(params, state, x)[0])
            return -jnp.mean(scores[jnp.arange(12), labels])

        gradient = jax.grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)

    for _ in range(300):
        params = step(params)
    logits, _ = layer.apply(params, state, x)
    np.testing.assert_array_equal(logits.argmax(-1), labels)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("lenet", {}, "no model is called 'lenet', the nearest is 'lenet5'; there are linear, mlp"),
        ("MLP", {}, "the nearest is"),
        ("linear", {"classes": 0}, "linear needs out_features ≥ 1"),
        ("mlp", {"hidden": [0]}, "linear needs out_features ≥ 1"),
        ("mlp", {"dropout": 1.0}, r"lies in \[0, 1\)"),
        ("lenet5", {"inputs": [10, 28, 1]}, r"12×12 at least, got inputs=\[10, 28, 1\]"),
        ("lenet5", {"inputs": 784}, r"needs inputs \(height, width, channels\)"),
    ],
)
def test_refuses(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, **arguments)
