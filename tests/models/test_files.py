"""A model and its weights in one file: `save` and `load`."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import models, nn
from dlcore.interop import weights
from dlcore.interop.weights import WeightsError

X = np.random.default_rng(0).normal(size=(2, 12, 12, 1)).astype(np.float32)


def trees(layer):
    """Params and state, drawn by NumPy: nothing is compiled for what is only written and read."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(layer.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.random(leaf.shape, leaf.dtype), shapes)


def predict(layer, params, state):
    return jax.jit(layer.apply)(params, state, X)[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.lenet5((12, 12, 1), classes=3),
        lambda: models.mlp((12, 12, 1), (5, 4), 3, activation=F.relu, dropout=0.0),
        lambda: models.mlp(inputs=(12, 12, 1), hidden=()),
        lambda: models.linear(inputs=(12, 12, 1)),
        lambda: nn.freeze(models.linear((12, 12, 1)), "**/bias"),
    ],
)
def test_a_file_is_enough_to_predict(make, tmp_path):
    layer, path = make(), tmp_path / "w.safetensors"
    params, state = trees(layer)
    models.save(path, layer, params, state, {"classes": ["a", "b"]})
    rebuilt, *loaded = models.load(path)
    assert jax.tree.structure(loaded) == jax.tree.structure([params, state])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded))
    np.testing.assert_array_equal(predict(rebuilt, *loaded), predict(layer, params, state))
    assert rebuilt.info.kind == layer.info.kind
    assert weights.load(path)[1]["classes"] == ["a", "b"]


def test_the_home_folder_and_impossible_ones(tmp_path, monkeypatch):
    layer = models.linear(4, 2)
    monkeypatch.setenv("HOME", str(tmp_path))
    models.save("~/w", layer, *trees(layer))
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
    assert models.load("~/w")[0].info.kind == "linear"
    for function in (models.load, lambda path: models.save(path, layer, *trees(layer))):
        with pytest.raises(WeightsError, match=r"^'w\\x00' is no path"):
            function("w\0")


def test_state_comes_back_too(tmp_path, monkeypatch):
    def normed(features=2):
        return nn.serial(nn.batch_norm(features))

    factory = models._model.model(normed)
    monkeypatch.setitem(models.MODELS, "normed", factory)
    layer = factory(1)
    params, state = trees(layer)
    models.save(tmp_path / "w", layer, params, state)
    rebuilt, *loaded = models.load(tmp_path / "w")
    np.testing.assert_array_equal(predict(rebuilt, *loaded), predict(layer, params, state))


def test_the_description_is_data(tmp_path):
    layer = models.mlp(4, (3,), classes=2)
    models.save(tmp_path / "w", layer, *trees(layer))
    _, description = weights.load(tmp_path / "w")
    assert description == {
        "architecture": "mlp",
        "arguments": {"inputs": 4, "hidden": [3], "classes": 2, "dropout": 0.2},
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.mlp(4, (3,), activation=F.tanh), "mlp: activation=tanh is no data"),
        (lambda: models.mlp(4, (3,), activation=nn.prelu()), "mlp: activation=prelu"),
        (lambda: nn.serial(nn.linear(4, 2)), "this serial is none of models.MODELS"),
        (lambda: nn.linear(4, 2), "this linear is none of models.MODELS"),
        (lambda: models.mlp((1,) * 2000, ()), "mlp: arguments of 60.. characters"),
        (
            lambda: nn.replace(models.mlp(4, (3,)), "linear2", nn.linear(3, 5)),
            "this serial is none of models.MODELS",
        ),
    ],
)
def test_what_no_file_can_name_is_refused(make, message, tmp_path):
    layer = make()
    with pytest.raises(ValueError, match=message):
        models.save(tmp_path / "w", layer, *trees(layer))
    assert not list(tmp_path.iterdir())


def test_weights_of_another_form_are_refused_when_saved(tmp_path):
    params, state = trees(models.mlp(4, (3,), classes=2))
    with pytest.raises(WeightsError) as caught:
        models.save(tmp_path / "w", models.mlp(4, (5,), classes=2), params, state)
    assert str(caught.value) == (
        "3 leaves do not fit this mlp: linear1/bias: wanted float32[5], got float32[3]; "
        "linear1/kernel: wanted float32[4, 5], got float32[4, 3]; "
        "linear2/kernel: wanted float32[5, 2], got float32[3, 2]"
    )
    assert not list(tmp_path.iterdir())


NESTED = [[]]
for _ in range(500):
    NESTED = [NESTED]
GOOD = {"architecture": "mlp", "arguments": {"inputs": 4, "hidden": [3], "classes": 2}}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({}, "describes no model .*KeyError: 'architecture'"),
        (GOOD | {"architecture": "mpl"}, "no model is called 'mpl', the nearest is 'mlp'"),
        (GOOD | {"architecture": ["mlp"]}, "TypeError"),
        (GOOD | {"architecture": "__import__"}, "no model is called '__import__'"),
        (GOOD | {"arguments": "os.system"}, "TypeError"),
        (GOOD | {"arguments": {"inputs": 4, "depth": 9}}, "unexpected keyword argument 'depth'"),
        (GOOD | {"arguments": {"inputs": "four"}}, "describes no model"),
        (GOOD | {"arguments": {"inputs": 4, "hidden": [-3]}}, "linear needs out_features ≥ 1"),
        (GOOD | {"arguments": {"inputs": 10**30, "hidden": [3]}}, r"wanted float32\[10{30}, 3\]"),
        (GOOD | {"arguments": {"inputs": 4, "activation": "relu"}}, "TypeError"),
        (GOOD | {"arguments": {"inputs": 4, "hidden": [1] * 100_000}}, "of 3000.. characters"),
        (GOOD | {"arguments": {"inputs": [10**4000] * 3}}, "but at most 4000 are wanted"),
        (GOOD | {"arguments": {"inputs": NESTED}}, "describes no model"),
        ({"architecture": "resnet", "arguments": {"depth": 10**9}}, "depth is 1000000000, but"),
        ({"architecture": "resnet", "arguments": {"depth": [50]}}, r"depth is \[50\], but"),
        ({"architecture": "resnet_cifar", "arguments": {"depth": 6 * 10**9 + 2}}, "got depth=60"),
        ({"architecture": "resnet_cifar", "arguments": {"depth": -4}}, "got depth=-4"),
        ({"architecture": "vgg", "arguments": {"width": -64}}, "conv needs out_channels ≥ 1"),
        ({"architecture": "vit", "arguments": {"size": {"base": 1}}}, "vit: size is {'base': 1}"),
        ({"architecture": "alexnet", "arguments": {"inputs": [-63, 63, 3]}}, "of 63×63 at least"),
        (
            GOOD | {"arguments": {"inputs": 4, "hidden": [9], "classes": 2}},
            r"params/linear1/bias: wanted float32\[9\], the file has float32\[3\]",
        ),
    ],
)
def test_a_description_that_lies_is_refused_in_one_line(description, message, tmp_path):
    path = tmp_path / "w.safetensors"
    params, state = trees(models.build("mlp", **GOOD["arguments"]))
    weights.save(path, {"params": params, "state": state}, GOOD)
    models.load(path)
    weights.save(path, {"params": params, "state": state}, description)
    with pytest.raises(WeightsError, match=message) as caught:
        models.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_damaged_file_is_refused_in_one_line(tmp_path):
    path = tmp_path / "w.safetensors"
    layer = models.linear(4, 2)
    models.save(path, layer, *trees(layer))
    whole = path.read_bytes()
    for data in (
        whole[:-1],
        whole[: len(whole) // 2],
        (2**63).to_bytes(8, "little") + whole[8:],
        whole[:-1] + bytes([whole[-1] ^ 1]),
        b"\x80\x04cos\nsystem\n(S'touch hurt'\ntR.",
        b"",
    ):
        path.write_bytes(data)
        with pytest.raises(
            WeightsError, match=r"w.safetensors: .*fetch or save it again"
        ) as caught:
            models.load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="cannot be read"):
        models.load(tmp_path / "none")
