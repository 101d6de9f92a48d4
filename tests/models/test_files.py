"""A network and its weights in one file: `save` and `load`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import models, nn
from dlcore.interop import weights
from dlcore.interop.weights import WeightsError, WeightsWarning
from dlcore.nn.layer import as_layer, with_info
from dlcore.nn.summary import structure

X = np.random.default_rng(0).normal(size=(2, 12, 12, 1)).astype(np.float32)


def trees(layer):
    """Params and state, drawn by NumPy: nothing is compiled for what is only written and read."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(layer.init, jax.random.key(0))

    def drawn(leaf):
        return rng.normal(size=leaf.shape).astype(leaf.dtype)

    return jax.tree.map(drawn, shapes)


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
    assert structure(rebuilt) == structure(layer)
    for leaf, saved in zip(*map(jax.tree.leaves, (loaded, [params, state])), strict=True):
        np.testing.assert_array_equal(leaf, saved)


def test_the_description_is_data(tmp_path):
    layer = models.mlp(4, (3,), classes=2)
    models.save(tmp_path / "w", layer, *trees(layer))
    _, description = weights.load(tmp_path / "w")
    assert description.pop("structure").splitlines()[1:] == [
        "  flatten1: flatten",
        "  linear1: linear(4, 3)",
        "  relu1: relu",
        "  dropout1: dropout(0.2)",
        "  linear2: linear(3, 2)",
    ]
    assert description == {
        "architecture": "mlp",
        "arguments": {"inputs": 4, "hidden": [3], "classes": 2, "dropout": 0.2},
    }


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_is_named_by_its_file(name):
    layer = models.build(name)
    arguments = models._files._architecture(layer)
    assert arguments["architecture"] == name
    assert structure(models.build(name, **arguments["arguments"])) == structure(layer)


# Networks of one's own


def scaled(dtype=jnp.float32):
    """A layer whose params are one array, and whose state has the path of it."""

    def apply(params, state, x, *, key=None, train=False):
        return x * params, state + train

    return nn.make("scaled", lambda key: (jnp.ones(3, dtype), jnp.zeros((), jnp.int32)), apply)


def tied():
    def forward(parts, x, *, key, train):
        return parts.shared(parts.shared(x)) @ parts.shared.params["kernel"].T

    return nn.wire(forward, shared=nn.linear(3, 3), seen=nn.batch_norm(3))


def remembering():
    """A layer with a leaf of state and a memory beside it."""

    def apply(params, state, x, *, key=None, train=False):
        return x, state

    layer = nn.make("stream", lambda key: ((), {"count": jnp.zeros((), jnp.int32)}), apply)
    return with_info(layer, memory=lambda batch: {"h": np.zeros((batch, 3))})


OWN = {
    "serial": lambda: nn.serial(nn.linear(3, 3), F.relu, nn.named("head", nn.linear(3, 2))),
    "layer": lambda: nn.linear(3, 2, bias=False),
    "function": lambda: F.relu,
    "array": lambda: scaled(),
    "nested array": lambda: nn.serial(scaled(), nn.residual(nn.serial(scaled()))),
    "tied": tied,
    "repeat": lambda: nn.repeat(nn.serial(nn.linear(3, 3), nn.batch_norm(3)), 12, scan=True),
    "frozen": lambda: nn.freeze(nn.serial(nn.linear(3, 3), nn.linear(3, 2)), "**/bias"),
    "another activation": lambda: models.mlp(3, (3,), 2, activation=F.tanh),
    "a layer in it": lambda: models.mlp(3, (3,), 2, activation=nn.prelu(3)),
    "many arguments": lambda: models.mlp((3, *(1,) * 2000), (), 2),
    "a part replaced": lambda: nn.replace(models.mlp(3, (3,), 2), "linear2", nn.linear(3, 3)),
    "a model's kind": lambda: nn.from_function(F.relu, "mlp"),
    "a model's arguments": lambda: nn.from_function(F.relu, "linear", inputs="x", classes=2),
    "a model's form": lambda: nn.from_function(F.relu, "linear", inputs=3, classes=2),
    "remembering": remembering,
}


@pytest.mark.parametrize("name", OWN)
def test_any_network_comes_back(name, tmp_path):
    path, layer = tmp_path / "w", as_layer(OWN[name]())
    params, state = trees(layer)
    models.save(path, layer, params, state, {"classes": ["a", "b"]})
    network, *loaded = models.load(path, OWN[name]())
    assert jax.tree.structure(loaded) == jax.tree.structure([params, state])
    for leaf, saved in zip(*map(jax.tree.leaves, (loaded, [params, state])), strict=True):
        assert isinstance(leaf, jax.Array)
        assert leaf.dtype == saved.dtype
        np.testing.assert_array_equal(leaf, saved)
    assert structure(network) == structure(layer)
    description = weights.load_leaves(path)[1]
    assert description == {"classes": ["a", "b"], "structure": structure(layer)}
    with pytest.raises(
        WeightsError,
        match=rf"a file holds no code, and models.build does not make this {layer.info.kind} of "
        r"data; give the network it was saved with: models.load\(path, network\)$",
    ):
        models.load(path)


def test_what_was_frozen_is_the_networks_own_affair(tmp_path):
    layer = models.linear(3, 2)
    models.save(tmp_path / "w", nn.freeze(layer, "**/bias"), *trees(layer))
    frozen = nn.freeze(layer, "**/kernel")
    assert models.load(tmp_path / "w", frozen)[0] is frozen
    assert nn.frozen(models.load(tmp_path / "w")[0]) == ()


def test_a_model_is_checked_against_a_network_too(tmp_path):
    layer = models.mlp(3, (3,), classes=2)
    params, state = trees(layer)
    models.save(tmp_path / "w", layer, params, state)
    assert models.load(tmp_path / "w", layer)[0] is layer
    with pytest.raises(WeightsError) as caught:
        models.load(tmp_path / "w", models.mlp(3, (5,), classes=2))
    assert str(caught.value).startswith(
        f"{tmp_path / 'w'}: 3 leaves do not fit this mlp: "
        "params/linear1/bias: wanted float32[5], the file has float32[3]; "
        "params/linear1/kernel: wanted float32[3, 5], the file has float32[3, 3]; "
        "params/linear2/kernel: wanted float32[5, 2], the file has float32[3, 2]; "
        "build it as it was when it was saved; the structures differ: here mlp(inputs=3, "
        "hidden=(5,), classes=2"
    )
    assert "\n" not in str(caught.value)


def test_a_file_without_a_description_needs_the_network_alone(tmp_path):
    """As a file of weights.save is, or one of an earlier dlcore."""
    layer = models.mlp(3, (3,), classes=2)
    params, state = trees(layer)
    weights.save(tmp_path / "w", {"params": params, "state": state})
    assert models.load(tmp_path / "w", layer)[0] is layer
    with pytest.raises(WeightsError, match=r"give the network it was saved with: models.load\("):
        models.load(tmp_path / "w")
    with pytest.raises(WeightsError, match=r"build it as it was when it was saved$"):
        models.load(tmp_path / "w", models.mlp(3, (5,), classes=2))


def chain(*layers):
    return nn.serial(nn.named("stem", nn.serial(*layers)), nn.named("head", nn.linear(3, 2)))


@pytest.mark.parametrize(
    ("saved", "given", "said"),
    [
        (
            lambda: chain(nn.linear(3, 3), F.relu),
            lambda: chain(nn.linear(3, 3), F.gelu),
            "in stem: here gelu1: gelu, in the file relu1: relu",
        ),
        (
            lambda: chain(nn.linear(3, 3), F.relu),
            lambda: chain(nn.linear(3, 3)),
            r": here head: linear\(3, 2\), in the file relu1: relu",
        ),
        (
            lambda: nn.serial(nn.linear(3, 3)),
            lambda: nn.serial(nn.linear(3, 3), nn.dropout(0.5)),
            r": here dropout1: dropout\(0.5\), in the file nothing",
        ),
        (
            lambda: chain(nn.linear(3, 3), nn.max_pool(2)),
            lambda: chain(nn.linear(3, 3), nn.max_pool(2, stride=1)),
            r"in stem: here max_pool1: max_pool\(2, stride=1\), in the file max_pool1: max_pool",
        ),
    ],
)
def test_good_weights_of_another_structure_come_with_a_warning(saved, given, said, tmp_path):
    params, state = trees(saved())
    models.save(tmp_path / "w", saved(), params, state)
    with pytest.warns(WeightsWarning, match=f"w: the weights fit; the structures differ.*{said}"):
        _, *loaded = models.load(tmp_path / "w", given())
    for leaf, own in zip(*map(jax.tree.leaves, (loaded, [params, state])), strict=True):
        np.testing.assert_array_equal(leaf, own)


def test_addresses_and_defaults_make_no_difference(tmp_path):
    class Merge:
        def __call__(self, *outputs):
            return sum(outputs)

    def network(**settings):
        own = functools.partial(Merge(), 0.0)
        return nn.branch(own, nn.linear(3, 3, **settings), nn.batch_norm(3))

    layer = network()
    models.save(tmp_path / "w", layer, *trees(layer))
    models.load(tmp_path / "w", network(bias=True))


def test_weights_in_another_precision_come_back_in_it(tmp_path):
    layer = nn.serial(nn.linear(3, 3), nn.batch_norm(3), scaled())
    params, state = trees(layer)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    half["linear1"] = params["linear1"]
    models.save(tmp_path / "w", layer, half, state)
    _, *loaded = models.load(tmp_path / "w", layer)
    assert [leaf.dtype for leaf in jax.tree.leaves(loaded)] == [
        leaf.dtype for leaf in jax.tree.leaves([half, state])
    ]
    for leaf, saved in zip(*map(jax.tree.leaves, (loaded, [half, state])), strict=True):
        np.testing.assert_array_equal(leaf, saved)
    models.save(tmp_path / "w", layer, loaded[0], loaded[1], weights.load_leaves(tmp_path / "w")[1])
    assert models.load(tmp_path / "w", layer)[1]["scaled1"].dtype == jnp.bfloat16
    model = models.linear(3, 3)
    params, state = trees(model)
    params["linear1"]["bias"] = params["linear1"]["bias"].astype(jnp.bfloat16)
    models.save(tmp_path / "w", model, params, state)
    assert models.load(tmp_path / "w")[1]["linear1"]["bias"].dtype == jnp.bfloat16


def test_a_network_that_draws_in_another_precision_is_another(tmp_path):
    half = scaled(jnp.bfloat16)
    for layer, other, message in (
        (half, scaled(), r"params: wanted float32\[3\], the file has bfloat16\[3\]"),
        (scaled(), half, r"params: wanted bfloat16\[3\], the file has float32\[3\]"),
    ):
        params, state = trees(layer)
        models.save(tmp_path / "w", layer, params, state)
        assert models.load(tmp_path / "w", layer)[1].dtype == params.dtype
        with pytest.raises(WeightsError, match=message):
            models.load(tmp_path / "w", other)


@pytest.mark.parametrize("drawn", [3, "float32", {"params/bias": 3}, {"params/bias": ["float32"]}])
def test_what_a_file_says_was_drawn_makes_no_leaf_fit_that_does_not(drawn, tmp_path):
    layer, path = nn.linear(3, 2), tmp_path / "w"
    params, state = trees(layer)
    trees_ = {"params": params, "state": state}
    weights.save(path, trees_, {"drawn": drawn})
    assert models.load(path, layer)[1]["bias"].dtype == jnp.float32
    params["bias"] = params["bias"].astype(np.int32)
    for description in ({"drawn": drawn}, {"drawn": {"params/bias": "float32"}}):
        weights.save(path, trees_, description)
        with pytest.raises(WeightsError, match=r"bias: wanted float32\[2\], the file has int32"):
            models.load(path, layer)


def test_memory_is_no_weight(tmp_path):
    layer = nn.serial(remembering())
    params, state = trees(layer)
    full = nn.joined(state, nn.memory(layer, 2))
    with pytest.raises(
        ValueError,
        match=r"holds memory \(stream1/memory/h\), which is no weight: give nn.parted\(state\)",
    ):
        models.save(tmp_path / "w", layer, params, full)
    models.save(tmp_path / "w", layer, params, nn.parted(full)[0])
    assert [*models.load(tmp_path / "w", layer)[2]["stream1"]] == ["count"]


def test_a_description_from_another_file_does_not_stay(tmp_path):
    model, layer = models.linear(3, 2), nn.linear(3, 2)
    models.save(tmp_path / "model", model, *trees(model), {"classes": ["a"]})
    models.save(tmp_path / "w", layer, *trees(layer), weights.load(tmp_path / "model")[1])
    assert [*weights.load(tmp_path / "w")[1]] == ["classes", "structure"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: models.save(path, {}, nn.linear(3, 2), ()), r"save\(path, layer, params, st"),
        (
            lambda path: models.load(path, {"params": 3}),
            r"load\(path, network\) takes a Layer, got",
        ),
        (lambda path: models.load(path, nn.linear), "linear makes a Layer and was not called"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(call, message, tmp_path):
    with pytest.raises(TypeError, match=message) as caught:
        call(tmp_path / "w")
    assert "\n" not in str(caught.value)


def test_weights_of_another_form_are_refused_when_saved(tmp_path):
    params, state = trees(models.mlp(4, (3,), classes=2))
    with pytest.raises(WeightsError) as caught:
        models.save(tmp_path / "w", models.mlp(4, (5,), classes=2), params, state)
    assert str(caught.value) == (
        "3 leaves do not fit this mlp: params/linear1/bias: wanted float32[5], got float32[3]; "
        "params/linear1/kernel: wanted float32[4, 5], got float32[4, 3]; "
        "params/linear2/kernel: wanted float32[5, 2], got float32[3, 2]"
    )
    assert not list(tmp_path.iterdir())


def test_params_and_state_are_not_taken_for_each_other(tmp_path):
    params, state = trees(nn.linear(3, 2))
    with pytest.raises(WeightsError, match=r"state/bias: wanted none, got float32\[2\]"):
        models.save(tmp_path / "w", nn.linear(3, 2), params, params)
    for wrong in (0.5, np.ones(2, np.int32), jax.random.key(0)):
        with pytest.raises(
            WeightsError, match=r"1 leaves .* params/bias: wanted float32\[2\], got"
        ):
            models.save(tmp_path / "w", nn.linear(3, 2), {**params, "bias": wrong}, state)


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
        (GOOD | {"arguments": {"inputs": 4, "depth": 9}}, "mlp has no depth, only inputs"),
        (GOOD | {"arguments": {"inputs": "four"}}, "describes no model"),
        (GOOD | {"arguments": {"inputs": 4, "hidden": [-3]}}, "linear needs out_features ≥ 1"),
        (GOOD | {"arguments": {"inputs": 10**30, "hidden": [3]}}, r"wanted float32\[10{30}, 3\]"),
        (GOOD | {"arguments": {"inputs": 4, "activation": "relu"}}, "TypeError"),
        (GOOD | {"arguments": {"inputs": 4, "hidden": [1] * 100_000}}, "of 3000.. characters"),
        (GOOD | {"arguments": {"inputs": [10**4000] * 3}}, "but at most 4000 are wanted"),
        (GOOD | {"arguments": {"inputs": NESTED}}, "describes no model"),
        ({"architecture": "resnet", "arguments": {"depth": 10**9}}, "depth is 1000000000, but"),
        (
            {"architecture": "resnet", "arguments": {"depth": [50]}},
            r"as depth, got \[50\]",
        ),
        ({"architecture": "resnet_cifar", "arguments": {"depth": 6 * 10**9 + 2}}, "got depth=60"),
        ({"architecture": "resnet_cifar", "arguments": {"depth": -4}}, "got depth=-4"),
        ({"architecture": "vgg", "arguments": {"width": -64}}, "conv needs out_channels ≥ 1"),
        (
            {"architecture": "vit", "arguments": {"size": {"base": 1}}},
            "takes text as size, got {",
        ),
        ({"architecture": "alexnet", "arguments": {"inputs": [-63, 63, 3]}}, "of 63×63 at least"),
        ({"structure": "serial\n  \x1b[31m" + "x" * 10**6}, "make this serial of data; give the"),
        ({"structure": "\x1b[31m" + "x" * 10**6}, "make this \N{REPLACEMENT CHARACTER}.31mxxx"),
        ({"structure": ["serial"]}, "describes no model .*KeyError: 'architecture'"),
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
