"""State dicts of torch in and out: names, layouts, prefixes, files, and every misfit by name."""

from __future__ import annotations

import collections
import os
import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import interop, models, nn, optim, train
from dlcore.interop import weights
from dlcore.interop.torch_names import NAMES, Names
from dlcore.interop.weights import WeightsError
from dlcore.tree import leaves_with_paths

SMALL = {
    "mlp": {"hidden": (5,)},
    "alexnet": {"inputs": (63, 63, 3), "classes": 2},
    "alexnet_2012": {"inputs": (63, 63, 3), "classes": 2},
    "vgg": {"depth": 11, "batch_norm": True, "width": 4},
    "googlenet": {"auxiliary": True, "width": 8},
    "resnet": {"depth": 18},
    "vit": {"size": "tiny"},
}


def tree(layer):
    """Params and state of a layer, all drawn, so that no two leaves are alike."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.uniform(0.5, 1, leaf.shape).astype(leaf.dtype),
        jax.eval_shape(layer.init, jax.random.key(0)),
    )


def assert_trees_equal(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def images(shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def assert_equal_to_torch(torch, layer, module, x, **settings):
    """The module's weights give its outputs here, and come back as they were."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    module.eval()
    params, state = interop.from_torch(layer, module.state_dict(), **settings)
    shaped = torch.tensor(np.moveaxis(x, -1, 1).copy() if x.ndim == 4 else x)
    expected = module(shaped).detach().numpy()
    expected = np.moveaxis(expected, 1, -1) if expected.ndim == 4 else expected
    np.testing.assert_allclose(layer.apply(params, state, x)[0], expected, rtol=1e-4, atol=1e-5)
    back = interop.to_torch(layer, params, state, **settings)
    assert sorted(back) == sorted(module.state_dict())
    for name, tensor in module.state_dict().items():
        assert back[name].dtype == tensor.dtype
        torch.testing.assert_close(back[name], tensor, rtol=0, atol=0, check_stride=False)
    module.load_state_dict(back)


# A whole network


@pytest.mark.slow
def test_a_resnet_of_torch_comes_in_trains_on_and_goes_back(torch, tmp_path):
    from tests.models.torch_residual import CifarResNet, moved

    network = moved(CifarResNet(3, "A", 10)).eval()
    torch.save(torch.nn.DataParallel(network).state_dict(), tmp_path / "resnet20.pt")
    layer = models.resnet_cifar(20, scan=True)
    x, labels = images((8, 16, 16, 3)), np.arange(8)
    apply = jax.jit(layer.apply)

    def assert_equal_logits(params, state, network):
        expected = network(torch.tensor(x.transpose(0, 3, 1, 2).copy())).detach().numpy()
        np.testing.assert_allclose(apply(params, state, x)[0], expected, rtol=1e-4, atol=1e-4)
        return expected

    params, state = interop.from_torch(layer, tmp_path / "resnet20.pt")
    before = assert_equal_logits(params, state, network)

    optimizer = optim.momentum(0.01)
    step = jax.jit(train.make_step(train.classification(layer), optimizer))
    begin = train.train_state(layer, optimizer, params=params, state=state)
    end, first = step(begin, {"x": x, "y": labels})
    for _ in range(5):
        end, last = step(end, {"x": x, "y": labels})
    assert last["loss"].value() < 0.8 * first["loss"].value()

    tensors = interop.to_torch(layer, end.params, end.state)
    assert {"layer1.0.conv1.weight", "linear.weight"} < set(tensors)
    assert network.load_state_dict(tensors)
    after = assert_equal_logits(end.params, end.state, network)
    assert not np.allclose(before, after, atol=0.1)


LARGE = {"alexnet", "googlenet", "convnext_tiny"}  # even so


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name
        for name in models.MODELS
    ],
)
def test_every_model_goes_out_and_comes_back(name):
    """Each leaf has a name of its own, but that three of attention are one tensor."""
    layer = models.build(name, **SMALL.get(name, {}))
    params, state = tree(layer)
    arrays = interop.to_torch(layer, params, state, numpy=True)
    counters = [path for path in arrays if path.endswith("num_batches_tracked")]
    leaves = [path for path, _ in leaves_with_paths((params, state))]
    packed = [path for path in leaves if "/key/" in path or "/value/" in path]
    assert len(arrays) - len(counters) == len(leaves) - len(packed)
    assert not any("/" in path for path in arrays)
    assert_trees_equal(interop.from_torch(layer, arrays), (params, state))


# Each kind of layer

IMAGE = (2, 5, 6, 4)
LAYERS = {
    "conv": (lambda: nn.conv(4, 6, (3, 2)), lambda t: t.Conv2d(4, 6, (3, 2)), IMAGE),
    "conv in groups": (
        lambda: nn.conv(4, 6, 3, groups=2, bias=False),
        lambda t: t.Conv2d(4, 6, 3, groups=2, bias=False),
        IMAGE,
    ),
    "depthwise": (
        lambda: nn.depthwise(4, 3, multiplier=2),
        lambda t: t.Conv2d(4, 8, 3, groups=4),
        IMAGE,
    ),
    "conv_transpose": (
        lambda: nn.conv_transpose(4, 6, (3, 2), stride=2),
        lambda t: t.ConvTranspose2d(4, 6, (3, 2), stride=2),
        IMAGE,
    ),
    "conv_transpose in groups": (
        lambda: nn.conv_transpose(4, 6, 3, dilation=2, groups=2),
        lambda t: t.ConvTranspose2d(4, 6, 3, dilation=2, groups=2),
        IMAGE,
    ),
    "linear": (lambda: nn.linear(4, 3), lambda t: t.Linear(4, 3), (2, 4)),
    "dropconnect": (lambda: nn.dropconnect(4, 3, 0.5), lambda t: t.Linear(4, 3), (2, 4)),
    "batch_norm": (lambda: nn.batch_norm(4), lambda t: t.BatchNorm2d(4), IMAGE),
    "batch_norm plain": (
        lambda: nn.batch_norm(4, scale=False, offset=False),
        lambda t: t.BatchNorm1d(4, affine=False),
        (2, 4),
    ),
    "layer_norm": (lambda: nn.layer_norm(4), lambda t: t.LayerNorm(4), (2, 3, 4)),
    "group_norm": (lambda: nn.group_norm(4, 2), lambda t: t.GroupNorm(2, 4), IMAGE),
    "instance_norm": (
        lambda: nn.instance_norm(4),
        lambda t: t.InstanceNorm2d(4, affine=True),
        IMAGE,
    ),
    "prelu": (nn.prelu, lambda t: t.PReLU(), IMAGE),
    "prelu by channel": (lambda: nn.prelu(4), lambda t: t.PReLU(4), IMAGE),
}


@pytest.mark.parametrize("name", LAYERS)
def test_each_kind_of_layer_equals_torch(name, torch):
    make, reference, shape = LAYERS[name]
    module = torch.nn.Sequential(collections.OrderedDict(part=reference(torch.nn)))
    assert_equal_to_torch(torch, nn.serial(nn.named("part", make())), module, images(shape))
    assert_equal_to_torch(torch, make(), reference(torch.nn), images(shape))


@pytest.mark.parametrize("bias", [True, False])
def test_attention_equals_torch(bias, torch):
    class Attention(torch.nn.MultiheadAttention):
        def forward(self, x):
            return super().forward(x, x, x)[0]

    module = Attention(6, 2, bias=bias, batch_first=True)
    layer = nn.attention(6, 2, bias=bias)
    x = 0.1 * images((2, 3, 6))
    assert_equal_to_torch(torch, layer, module, x)
    named = torch.nn.Sequential(collections.OrderedDict(attention1=module))
    assert_equal_to_torch(torch, nn.serial(layer), named, x)


def test_a_parameter_that_is_no_module_has_the_name_of_its_layer():
    layer = nn.serial(nn.named("block", nn.serial(nn.layer_scale(3))))
    params, state = tree(layer)
    arrays = interop.to_torch(layer, params, state, numpy=True)
    assert list(arrays) == ["block.layer_scale1"]
    assert arrays["block.layer_scale1"].shape == (3, 1, 1)
    assert_trees_equal(interop.from_torch(layer, arrays), (params, state))


def test_a_layer_that_torch_lacks_keeps_its_names_and_layouts():
    layer = nn.serial(nn.locally_connected(2, 3, 2, size=4), nn.flatten, nn.rbf(27, 5))
    params, state = tree(layer)
    arrays = interop.to_torch(layer, params, state, numpy=True)
    assert sorted(arrays) == [
        "locally_connected1.bias",
        "locally_connected1.kernel",
        "rbf1.centers",
    ]
    np.testing.assert_array_equal(arrays["rbf1.centers"], params["rbf1"]["centers"])
    assert_trees_equal(interop.from_torch(layer, arrays), (params, state))


# Flattened images


def sequential(torch, **layers):
    return torch.nn.Sequential(collections.OrderedDict(layers))


def in_parts(torch):
    t = torch.nn
    return sequential(
        torch,
        features=sequential(torch, conv1=t.Conv2d(4, 3, 2), relu1=t.ReLU(), pool=t.MaxPool2d(2)),
        flatten=t.Flatten(),
        classifier=sequential(
            torch, drop=t.Dropout(), linear1=t.Linear(12, 5), linear2=t.Linear(5, 2)
        ),
    )


def with_norms(torch):
    t = torch.nn
    return sequential(
        torch,
        flatten1=t.Flatten(),
        batch_norm1=t.BatchNorm1d(120),
        prelu1=t.PReLU(120),
        layer_norm1=t.LayerNorm(120),
        linear1=t.Linear(120, 120),
        batch_norm2=t.BatchNorm1d(120),
    )


def in_branches(torch):
    class Concat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = torch.nn.Conv2d(4, 3, 1), torch.nn.Conv2d(4, 2, 1)

        def forward(self, x):
            x = torch.cat([self.conv1(x), self.conv2(x), x], 1)
            return x + x

    return sequential(
        torch,
        concat1=Concat(),
        flatten1=torch.nn.Flatten(),
        linear1=torch.nn.Linear(270, 2),
    )


FLATTENED = {
    "in parts": (
        lambda: nn.serial(
            nn.named("features", nn.serial(nn.conv(4, 3, 2), F.relu, nn.max_pool(2))),
            nn.adaptive_avg_pool((2, 2)),
            nn.flatten,
            nn.named("classifier", nn.serial(nn.dropout(0.5), nn.linear(12, 5), nn.linear(5, 2))),
        ),
        in_parts,
        {},
    ),
    "with norms": (
        lambda: nn.serial(
            nn.flatten,
            nn.batch_norm(120),
            nn.prelu(120),
            nn.layer_norm(120),
            nn.linear(120, 120),
            nn.batch_norm(120),
        ),
        with_norms,
        {"channels": 4},
    ),
    "in branches": (
        lambda: nn.serial(
            nn.concat(nn.conv(4, 3, 1), nn.conv(4, 2, 1), F.identity),
            nn.residual(F.identity),
            nn.flatten,
            nn.linear(270, 2),
        ),
        in_branches,
        {"channels": 4},
    ),
}


@pytest.mark.parametrize("name", FLATTENED)
def test_flattened_images_have_torchs_order(name, torch):
    make, reference, settings = FLATTENED[name]
    assert_equal_to_torch(torch, make(), reference(torch), images(IMAGE), **settings)


def test_a_model_tells_the_channels_of_its_images(torch):
    module = sequential(
        torch,
        flatten1=torch.nn.Flatten(),
        linear1=torch.nn.Linear(120, 3),
        relu1=torch.nn.ReLU(),
        linear2=torch.nn.Linear(3, 2),
    )
    layer = models.mlp((5, 6, 4), (3,), 2)
    assert_equal_to_torch(torch, layer, module, images(IMAGE))
    module = sequential(torch, body=module)
    assert_equal_to_torch(torch, nn.serial(nn.named("body", layer)), module, images(IMAGE))
    vectors = sequential(
        torch,
        linear1=torch.nn.Linear(7, 3),
        relu1=torch.nn.ReLU(),
        linear2=torch.nn.Linear(3, 2),
    )
    assert_equal_to_torch(torch, models.mlp(7, (3,), 2), vectors, images((2, 7)))


@pytest.mark.parametrize(
    "layer",
    [
        nn.serial(nn.flatten, nn.linear(12, 2)),
        nn.serial(nn.wire(lambda parts, x, *, key, train: x), nn.flatten, nn.linear(12, 2)),
        nn.serial(
            nn.branch(jnp.add, nn.conv(1, 3, 1), nn.conv(1, 4, 1)), nn.flatten, nn.linear(12, 2)
        ),
    ],
)
def test_unknown_channels_are_asked_for(layer):
    with pytest.raises(ValueError, match=r"linear1/kernel is of 12 .* unknown: say channels="):
        interop.from_torch(layer, {})
    with pytest.raises(ValueError, match=r"linear1/kernel is of 12 .* unknown: say channels="):
        interop.to_torch(layer, *tree(layer))


def test_channels_that_cannot_be_are_refused():
    layer = nn.serial(nn.flatten, nn.linear(12, 2))
    with pytest.raises(ValueError, match="channels, which are not 5"):
        interop.from_torch(layer, {}, channels=5)


# Names

RULES = Names(
    (("^stem/", ""), (r"block(\d)", lambda match: f"layer{int(match[1]) - 1}"), ("^head$", "fc")),
    numbered=("*/body",),
    optional=r"aux\d",
)


def test_rules_numbers_and_spare_parts(monkeypatch):
    monkeypatch.setitem(NAMES, "own", RULES)

    @models._model.model
    def own(width=2):
        return nn.serial(
            nn.named("stem", nn.serial(nn.linear(2, width))),
            nn.named("block1", nn.residual(nn.serial(F.relu, nn.linear(width, 2)))),
            nn.named("head", nn.linear(2, 2)),
        )

    layer = own()
    params, state = tree(layer)
    arrays = interop.to_torch(layer, params, state, numpy=True)
    names = ["fc.bias", "fc.weight", "layer0.body.1.bias", "layer0.body.1.weight"]
    assert sorted(arrays) == [*names, "linear1.bias", "linear1.weight"]
    spare = {"aux1.fc.weight": np.zeros(3)}
    assert_trees_equal(interop.from_torch(layer, arrays | spare), (params, state))

    inside = nn.serial(nn.named("net", layer), nn.linear(2, 1))
    arrays = interop.to_torch(inside, *tree(inside), numpy=True)
    assert sorted(arrays)[:3] == ["linear1.bias", "linear1.weight", "net.fc.bias"]
    assert "net.layer0.body.1.weight" in arrays

    changed = nn.replace(layer, "head", nn.linear(2, 7))
    arrays = interop.to_torch(changed, *tree(changed), names=RULES, numpy=True)
    assert arrays["fc.weight"].shape == (7, 2)
    assert "head.weight" in interop.to_torch(changed, *tree(changed), numpy=True)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_of_wrappers_are_understood(prefix):
    layer = nn.serial(nn.linear(2, 3), nn.batch_norm(3))
    expected = tree(layer)
    arrays = interop.to_torch(layer, *expected, numpy=True)
    wrapped = {prefix + name: array for name, array in arrays.items()}
    assert_trees_equal(interop.from_torch(layer, wrapped), expected)


def test_a_part_called_module_is_no_wrapper():
    layer = nn.serial(nn.named("module", nn.serial(nn.linear(2, 3))))
    expected = tree(layer)
    arrays = interop.to_torch(layer, *expected, numpy=True)
    assert sorted(arrays) == ["module.linear1.bias", "module.linear1.weight"]
    assert_trees_equal(interop.from_torch(layer, arrays), expected)
    wrapped = {f"module.{name}": array for name, array in arrays.items()}
    assert_trees_equal(interop.from_torch(layer, wrapped), expected)


def test_checkpoints_hold_state_dicts():
    layer = nn.linear(2, 3)
    expected = tree(layer)
    arrays = interop.to_torch(layer, *expected, numpy=True)
    for name in ("state_dict", "model", "model_state_dict"):
        checkpoint = {"epoch": 3, "optimizer": {"lr": 0.1}, name: arrays}
        assert_trees_equal(interop.from_torch(layer, checkpoint), expected)
    with pytest.raises(WeightsError, match=r"no tensors are state_dict \(dict\); model \(dict\)"):
        interop.from_torch(layer, {"state_dict": arrays, "model": arrays})
    with pytest.raises(WeightsError, match=r"no tensors are epoch \(int\)"):
        interop.from_torch(layer, arrays | {"epoch": 3})
    with pytest.raises(WeightsError, match=r"no tensors are 0 \(ndarray\)"):
        interop.from_torch(layer, {0: np.zeros(2)})
    with pytest.raises(WeightsError, match="wanted, got a list"):
        interop.from_torch(layer, [1])


# Misfits


def test_every_misfit_is_named_with_both_shapes():
    layer = nn.serial(nn.conv(1, 2, 3), nn.batch_norm(2))
    given = {
        "conv1.weight": np.zeros((2, 3, 3, 1), np.float32),
        "conv1.bias": np.zeros(2, np.int8),
        "batch_norm1.weight": np.zeros(2, np.float32),
        "batch_norm1.running_mean": np.zeros(2, np.float32),
        "batch_norm1.running_var": np.zeros(2, np.float32),
        "batch_norm1.num_batches_tracked": np.zeros((), np.int64),
        "fc.weight": np.zeros((10, 2), np.float32),
    }
    with pytest.raises(WeightsError) as caught:
        interop.from_torch(layer, given)
    assert str(caught.value) == (
        "4 tensors do not fit this serial: batch_norm1.bias: wanted [2], got none; "
        "conv1.bias: wanted [2], got int8[2]; "
        "conv1.weight: wanted [2, 1, 3, 3], got [2, 3, 3, 1]; "
        "fc.weight: wanted none, got [10, 2]"
    )
    with pytest.raises(WeightsError) as caught:
        interop.from_torch(layer, {f"{number}\nname " * 1000: np.zeros(1) for number in range(20)})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_packed_projections_are_one_tensor():
    layer = nn.serial(nn.attention(4, 2))
    arrays = interop.to_torch(layer, *tree(layer), numpy=True)
    arrays["attention1.in_proj_weight"] = np.zeros((8, 4), np.float32)
    with pytest.raises(WeightsError, match=r"in_proj_weight: wanted \[12, 4\], got \[8, 4\]$"):
        interop.from_torch(layer, arrays)


def test_trees_of_another_network_do_not_go_out():
    with pytest.raises(WeightsError) as caught:
        interop.to_torch(nn.linear(2, 3), *tree(nn.serial(nn.linear(2, 3))), numpy=True)
    assert str(caught.value) == (
        "4 leaves do not fit this linear: bias: wanted [3], got none; "
        "kernel: wanted [2, 3], got none; linear1/bias: wanted none, got [3]; "
        "linear1/kernel: wanted none, got [2, 3]"
    )


# Dtypes


def test_every_float_becomes_the_layers_own(torch):
    layer = nn.linear(2, 3)
    exact = torch.tensor([[1.5, -2.0], [0.25, 3.0], [0.0, 8.0]])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn):
        given = {"weight": exact.to(dtype), "bias": torch.ones(3).to(dtype)}
        params, _ = interop.from_torch(layer, given)
        assert params["kernel"].dtype == params["bias"].dtype == jnp.float32
        np.testing.assert_array_equal(params["kernel"], exact.numpy().T)


def test_bfloat16_goes_out_as_it_is(torch):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree(nn.linear(2, 3))[0])
    tensors = interop.to_torch(nn.linear(2, 3), params, ())
    assert tensors["weight"].dtype == torch.bfloat16
    np.testing.assert_array_equal(
        tensors["weight"].float().numpy().T, params["kernel"].astype(jnp.float32)
    )


def test_what_comes_in_is_a_copy(torch):
    module = torch.nn.Linear(2, 3)
    params, _ = interop.from_torch(nn.linear(2, 3), module.state_dict())
    before = np.array(params["bias"])
    with torch.no_grad():
        module.bias.add_(1)
        module.weight.add_(1)
    np.testing.assert_array_equal(params["bias"], before)
    assert not np.allclose(params["kernel"], module.weight.detach().numpy().T)


def test_a_tensor_that_is_no_plain_one_is_named(torch):
    given = {"weight": torch.eye(3).to_sparse(), "bias": torch.zeros(3)}
    with pytest.raises(WeightsError, match="weight: no plain tensor"):
        interop.from_torch(nn.linear(3, 3), given)
    given["weight"] = torch.zeros(3, 3, device="meta")
    with pytest.raises(WeightsError, match="weight: no plain tensor"):
        interop.from_torch(nn.linear(3, 3), given)


# Files


def test_a_safetensors_file_needs_no_torch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    layer = nn.serial(nn.conv(1, 2, 3), nn.batch_norm(2))
    params, state = tree(layer)
    path = tmp_path / "w.safetensors"
    weights.save(path, interop.to_torch(layer, params, state, numpy=True))
    assert_trees_equal(interop.from_torch(layer, str(path)), (params, state))
    with pytest.raises(WeightsError, match=r"w.safetensors: 8 tensors do not fit this linear"):
        interop.from_torch(nn.linear(1, 1), path)
    with pytest.raises(WeightsError, match=r"w.pt: torch reads .* not installed: save it as .saf"):
        interop.from_torch(layer, tmp_path / "w.pt")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".th", ".safetensors"])
def test_files_of_torch(suffix, torch, tmp_path):
    from safetensors.torch import save_file

    module = torch.nn.Sequential(collections.OrderedDict(linear1=torch.nn.Linear(2, 3)))
    path = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(module.state_dict(), path)
    params, state = interop.from_torch(nn.serial(nn.linear(2, 3)), path)
    assert state == ()
    np.testing.assert_array_equal(
        params["linear1"]["kernel"], module.linear1.weight.detach().numpy().T
    )


class Payload:
    """Unpickled, it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def hostile(torch, folder):
    """Files that are damaged, lie, or would run code."""
    torch.save(torch.nn.Linear(2, 3).state_dict(), folder / "good.pt")
    whole = (folder / "good.pt").read_bytes()
    payload = Payload(folder / "hurt")
    torch.save({"weight": payload}, folder / "payload.pt")
    torch.save(torch.nn.Linear(2, 3), folder / "module.pt")
    torch.save(
        {"weight": torch.zeros(1), "x": payload},
        folder / "old.pt",
        _use_new_zipfile_serialization=False,
    )
    (folder / "pickle.pt").write_bytes(pickle.dumps(payload))
    (folder / "pickle.safetensors").write_bytes(pickle.dumps(payload))
    (folder / "zip.safetensors").write_bytes(whole)
    (folder / "length.safetensors").write_bytes((2**63).to_bytes(8, "little") + b"{}")
    (folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "start.pt").write_bytes(whole[:20])
    (folder / "end.pt").write_bytes(whole[len(whole) // 2 :])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "text.pt").write_bytes(b"weights")
    (folder / "list.pt").write_bytes(pickle.dumps([1, 2]))
    return sorted(set(folder.iterdir()) - {folder / "good.pt"})


def test_hostile_and_damaged_files_are_refused_in_one_line(torch, tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "proof")))
    assert (tmp_path / "proof").is_dir()  # so it does run where somebody lets it
    (tmp_path / "proof").rmdir()
    layer = nn.linear(2, 3)
    paths = hostile(torch, tmp_path)
    assert len(paths) == 13
    for path in paths:
        with pytest.raises(WeightsError) as caught:
            interop.from_torch(layer, path)
        message = str(caught.value)
        assert message.startswith(f"{path}: "), message
        assert "\n" not in message
        assert len(message) < 700
    assert not (tmp_path / "hurt").exists()
    interop.from_torch(layer, tmp_path / "good.pt")


def test_a_file_that_is_not_there_is_one_line(torch, tmp_path):
    for name in ("w.pt", "w.safetensors"):
        with pytest.raises(WeightsError, match=f"{name}: cannot be read .No such file"):
            interop.from_torch(nn.linear(2, 3), tmp_path / name)
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(WeightsError, match=r"folder.pt: cannot be read \(Is a directory\)"):
        interop.from_torch(nn.linear(2, 3), tmp_path / "folder.pt")
