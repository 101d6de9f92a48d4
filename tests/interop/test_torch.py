"""State dicts of torch in and out: names, layouts, prefixes, files, and every misfit by name."""

from __future__ import annotations

import collections
import os
import pickle
import re
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import interop, models, nn, optim, train
from dlcore.interop import weights
from dlcore.interop.torch_names import NAMES, TIMM, Names
from dlcore.interop.weights import WeightsError, WeightsWarning
from dlcore.tree import leaves_with_paths

SMALL = {
    "mlp": {"hidden": (5,)},
    "alexnet": {"inputs": (63, 63, 3), "classes": 2},
    "alexnet_2012": {"inputs": (63, 63, 3), "classes": 2},
    "vgg": {"depth": 11, "batch_norm": True, "width": 4},
    "googlenet": {"auxiliary": True, "width": 8},
    "resnet": {"depth": 18},
    "vit": {"size": "tiny"},
    "gpt": {"vocabulary": 9, "context": 8, "features": 8, "heads": 2, "layers": 2},
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
    """Each leaf has a name of its own, but that three of attention are one tensor, and that torch's
    recurrent layers have a second bias.
    """
    layer = models.build(name, **SMALL.get(name, {}))
    params, state = tree(layer)
    arrays = interop.to_torch(layer, params, state, numpy=True)
    added = [path for path in arrays if path.endswith("num_batches_tracked") or "bias_hh" in path]
    added = added[sum("recurrent_bias" in path for path, _ in leaves_with_paths(params)) :]
    leaves = [path for path, _ in leaves_with_paths((params, state))]
    of_three = [path for path in arrays if "in_proj_" in path or ".c_attn." in path]
    assert len(arrays) - len(added) == len(leaves) - 2 * len(of_three)
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
    "an image of a vector": (
        lambda: nn.serial(
            nn.named("linear1", nn.linear(4, 18)),
            nn.named("norm", nn.batch_norm(18)),
            F.relu,
            nn.unflatten((3, 2, 3)),
            nn.conv(3, 2, 2),
        ),
        lambda t: t.Sequential(
            collections.OrderedDict(
                linear1=t.Linear(4, 18),
                norm=t.BatchNorm1d(18),
                relu1=t.ReLU(),
                unflatten1=t.Unflatten(1, (3, 3, 2)),
                conv1=t.Conv2d(3, 2, 2),
            )
        ),
        (5, 4),
    ),
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
    "rms_norm": (lambda: nn.rms_norm(4), lambda t: t.RMSNorm(4, eps=1e-5), (2, 3, 4)),
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
    "prefix",
    [
        *("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."),
        *("model.", "net.", "backbone.", "model._orig_mod.", "a.b.c.d.", "_fsdp_wrapped_module.x."),
    ],
)
def test_a_prefix_of_all_names_is_understood(prefix):
    layer = nn.serial(nn.linear(2, 3), nn.batch_norm(3))
    expected = tree(layer)
    arrays = interop.to_torch(layer, *expected, numpy=True)
    wrapped = {prefix + name: array for name, array in arrays.items()}
    wrapped["n_averaged"] = np.zeros((), np.int64)
    assert_trees_equal(interop.from_torch(layer, wrapped), expected)
    changed = nn.serial(nn.linear(2, 3), nn.batch_norm(3, scale=False))
    with pytest.raises(WeightsError, match=r": batch_norm1.weight: wanted none, got \[3\]$"):
        interop.from_torch(changed, wrapped)


def test_wrappers_inside_of_names_are_understood():
    layer = nn.serial(nn.named("a", nn.serial(nn.linear(2, 3))), nn.linear(3, 1))
    expected = tree(layer)
    arrays = interop.to_torch(layer, *expected, numpy=True)
    wrapped = {name.replace("a.", "a._orig_mod."): array for name, array in arrays.items()}
    wrapped = {f"_checkpoint_wrapped_module.{name}": array for name, array in wrapped.items()}
    assert_trees_equal(interop.from_torch(layer, wrapped), expected)


def test_what_stands_beside_a_prefix_is_refused_with_the_prefix():
    layer = nn.serial(nn.linear(2, 3))
    expected = tree(layer)
    arrays = interop.to_torch(layer, *expected, numpy=True)
    student, teacher = (
        {prefix + name: array for name, array in arrays.items()}
        for prefix in ("student.", "teacher.")
    )
    for given, shown, misfit in (
        (student | {"loss.weight": np.zeros(3)}, "'student.'", "loss.weight: wanted none, got [3]"),
        (student | teacher, "'student.'; 'teacher.'", "the nearest is student.linear1.bias [3]"),
        (student | arrays | {"student.x": np.zeros(3)}, "", "student.x: wanted none"),
    ):
        with pytest.raises(WeightsError) as caught:
            interop.from_torch(layer, given)
        message = str(caught.value)
        assert misfit in message
        assert "\n" not in message
        if shown:
            advice = message.rpartition(f"names fit behind {shown}: with that as p, give ")[2]
            assert advice == (
                "{name.removeprefix(p): tensor for name, tensor in tensors.items() "
                "if name.startswith(p)}"
            )


def test_a_part_called_module_is_no_wrapper():
    layer = nn.serial(nn.named("module", nn.serial(nn.linear(2, 3))))
    expected = tree(layer)
    arrays = interop.to_torch(layer, *expected, numpy=True)
    assert sorted(arrays) == ["module.linear1.bias", "module.linear1.weight"]
    assert_trees_equal(interop.from_torch(layer, arrays), expected)
    wrapped = {f"module.{name}": array for name, array in arrays.items()}
    assert_trees_equal(interop.from_torch(layer, wrapped), expected)


@pytest.mark.parametrize(
    ("make", "first"),
    [
        (lambda: nn.serial(nn.linear(2, 3), F.relu, nn.linear(3, 1)), ""),
        (lambda: nn.serial(nn.conv(2, 3, 1), nn.batch_norm(3), nn.serial(F.relu, nn.prelu())), ""),
        (lambda: nn.serial(nn.named("body", nn.serial(F.relu, nn.linear(3, 1)))), "body."),
    ],
)
def test_the_hint_for_a_sequential_works(make, first, torch):
    """torch's own Sequential gives the names: those of positions, with a part's name or without."""
    layer = make()
    t = torch.nn
    modules = {
        "linear": t.Sequential(t.Linear(2, 3), t.ReLU(), t.Linear(3, 1)),
        "conv": t.Sequential(
            t.Conv2d(2, 3, 1), t.BatchNorm2d(3), t.Sequential(t.ReLU(), t.PReLU())
        ),
        "body": sequential(torch, body=t.Sequential(t.ReLU(), t.Linear(3, 1))),
    }
    module = modules[first.rstrip(".") or layer.info.children[0][1].info.kind]
    for prefix in ("", "net."):
        given = {prefix + name: tensor for name, tensor in module.state_dict().items()}
        with pytest.raises(WeightsError, match="names of a Sequential: names=") as caught:
            interop.from_torch(layer, given)
        glob = str(caught.value).rpartition("Names(numbered=('")[2].removesuffix("',))")
        params, state = interop.from_torch(layer, given, names=Names(numbered=(glob,)))
        back = interop.to_torch(layer, params, state, names=Names(numbered=(glob,)))
        assert {name: tensor.tolist() for name, tensor in back.items()} == {
            name: tensor.tolist() for name, tensor in module.state_dict().items()
        }


def test_no_hint_for_numbers_that_do_not_fit():
    layer = nn.serial(nn.linear(2, 3), F.relu, nn.linear(3, 1))
    given = {"0.weight": np.zeros((3, 2)), "0.bias": np.zeros(3), "1.weight": np.zeros((1, 3))}
    with pytest.raises(WeightsError, match=r"wanted \[1\], got none.*$") as caught:
        interop.from_torch(layer, given)
    assert "Sequential" not in str(caught.value)


def test_a_long_list_of_misfits_has_names_of_both_sides():
    layer = nn.serial(*(nn.linear(2, 2) for _ in range(20)))
    arrays = interop.to_torch(layer, *tree(layer), numpy=True)
    given = {name.replace("linear", "fc"): array for name, array in arrays.items()}
    with pytest.raises(WeightsError) as caught:
        interop.from_torch(layer, given)
    shown = re.findall(
        r"linear(\d+)\.(\w+): wanted .*?, the nearest is fc(\d+)\.(\w+) ", str(caught.value)
    )
    assert len(shown) == 8
    assert all((number, leaf) == (near, own) for number, leaf, near, own in shown)
    assert "; and 64 more" in str(caught.value)


# timm


def timm_vit(arrays):
    """The names of timm.models.vision_transformer, as its release 1.0.31 has them."""
    moved = {
        "class_token": "cls_token",
        "conv_proj": "patch_embed.proj",
        "encoder.pos_embedding": "pos_embed",
        "encoder.layers.encoder_layer_": "blocks.",
        "encoder.ln": "norm",
        "heads.head": "head",
        "ln_1": "norm1",
        "self_attention.in_proj_": "attn.qkv.",
        "self_attention.out_proj": "attn.proj",
        "ln_2": "norm2",
        "mlp.0": "mlp.fc1",
        "mlp.3": "mlp.fc2",
    }
    return renamed(arrays, moved)


def timm_convnext(arrays):
    """Those of timm.models.convnext, where the scale of a layer is a vector."""
    moved = {"classifier.0": "head.norm", "classifier.2": "head.fc", "features.0": "stem"}
    for stage in range(4):
        moved[f"features.{2 * stage + 1}."] = f"stages.{stage}.blocks."
        moved[f"features.{2 * stage}."] = f"stages.{stage}.downsample."
    moved |= {"block.0": "conv_dw", "block.2": "norm", "block.3": "mlp.fc1", "block.5": "mlp.fc2"}
    found = renamed(arrays, moved | {"layer_scale": "gamma"})
    return {
        name: array.reshape(-1) if name.endswith("gamma") else array
        for name, array in found.items()
    }


def timm_vgg(arrays):
    """Those of timm.models.vgg, where the first two linear layers are convolutions."""
    first, second = arrays["classifier.0.weight"], arrays["classifier.3.weight"]
    arrays = arrays | {
        "classifier.0.weight": first.reshape(len(first), -1, 7, 7),
        "classifier.3.weight": second[:, :, None, None],
    }
    moved = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2"}
    return renamed(arrays, moved | {"classifier.6": "head.fc"})


def renamed(arrays, moved):
    found = {}
    for name, array in arrays.items():
        for old, new in moved.items():
            name = name.replace(old, new)
        found[name] = array
    return found


def test_timms_resnets_have_torchvisions_names():
    assert TIMM["resnet"] is NAMES["resnet"]


@pytest.mark.parametrize(
    ("model", "settings", "names"),
    [
        ("vgg", {"depth": 11, "width": 4}, timm_vgg),
        ("vgg", {"depth": 11, "width": 4, "batch_norm": True}, timm_vgg),
        ("vit", {"size": "tiny"}, timm_vit),
        pytest.param("convnext_tiny", {}, timm_convnext, marks=pytest.mark.slow),
    ],
)
def test_timms_names_are_another_way_to_say_torchvisions(model, settings, names):
    """The same tensors under either name are the same trees, so the outputs are equal too."""
    layer = models.build(model, **settings)
    expected = tree(layer)
    theirs = names(interop.to_torch(layer, *expected, numpy=True))
    for prefix in ("", "model."):
        given = {prefix + name: array for name, array in theirs.items()}
        assert_trees_equal(interop.from_torch(layer, given), expected)
    back = interop.to_torch(layer, *expected, names=TIMM[model], numpy=True)
    assert back.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(back[name], array, strict=True)


def test_a_part_of_a_network_may_be_timms():
    layer = nn.serial(nn.named("body", models.vgg(11, width=1)), nn.linear(1000, 2))
    expected = tree(layer)
    inside = interop.to_torch(layer, *expected, numpy=True)
    arrays = {name.removeprefix("body."): array for name, array in inside.items()}
    head = {name: arrays.pop(name) for name in ("linear1.weight", "linear1.bias")}
    theirs = {f"body.{name}": array for name, array in timm_vgg(arrays).items()}
    assert_trees_equal(interop.from_torch(layer, theirs | head), expected)


def test_fused_projections_are_queries_keys_and_values_in_this_order():
    """The formula, by NumPy: qkv·x cut in three; softmax(q·kᵀ / √d)·v of each head; proj."""
    heads, size, names = 2, 3, Names(packed=("qkv.", "proj."))
    layer = nn.attention(heads * size, heads)
    rng = np.random.default_rng(0)
    shapes = {"qkv.weight": (18, 6), "qkv.bias": (18,), "proj.weight": (6, 6), "proj.bias": (6,)}
    given = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    x = rng.normal(size=(2, 4, 6)).astype(np.float32)
    q, k, v = np.split(x @ given["qkv.weight"].T + given["qkv.bias"], 3, axis=-1)
    mixed = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = np.exp(q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(size))
        mixed.append(scores / scores.sum(-1, keepdims=True) @ v[..., part])
    expected = np.concatenate(mixed, -1) @ given["proj.weight"].T + given["proj.bias"]
    params, state = interop.from_torch(layer, given, names=names)
    y, _ = jax.jit(layer.apply)(params, state, x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


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
    with pytest.raises(WeightsError, match=r"wanted, got a Sequential: give its .state_dict\(\)"):
        interop.from_torch(layer, type("Sequential", (), {"state_dict": dict})())


def test_a_state_dict_is_known_by_its_form_where_its_name_says_nothing():
    layer = nn.linear(2, 3)
    expected = tree(layer)
    arrays = interop.to_torch(layer, *expected, numpy=True)
    optimizer = {"state": {0: {"step": np.zeros(())}}, "param_groups": [{"lr": 0.1}]}
    for checkpoint in (
        {"net": arrays, "acc": 93.0, "epoch": 3, "optimizer": optimizer, "scheduler": {}},
        {"state_dict": arrays, "state_dict_ema": arrays},
        {"weights": {"model": arrays, "args": None}, "model": {"params": arrays, "x": 1}},
    ):
        assert_trees_equal(interop.from_torch(layer, checkpoint), expected)
    with pytest.raises(WeightsError, match=r"no tensors are net \(dict\); ema \(dict\)"):
        interop.from_torch(layer, {"net": arrays, "ema": arrays})


@pytest.mark.parametrize("path", [("state_dict",), ("model", "state_dict"), ("model",) * 9])
def test_a_checkpoint_that_contains_itself_has_an_end(path):
    checkpoint = inside = {"epoch": 1}
    for name in path[:-1]:
        inside[name] = inside = {"epoch": 1}
    inside[path[-1]] = checkpoint
    with pytest.raises(WeightsError, match="dictionaries in each other, 8 deep"):
        interop.from_torch(nn.linear(2, 3), checkpoint)


# Values


def test_values_that_are_not_finite_come_in_and_are_named():
    layer = nn.serial(nn.attention(4, 2), nn.linear(4, 3), nn.batch_norm(3))
    arrays = interop.to_torch(layer, *tree(layer), numpy=True)
    interop.from_torch(layer, arrays)
    arrays["attention1.in_proj_weight"][:] = np.nan
    arrays["batch_norm1.running_var"][1] = np.inf
    arrays["linear1.bias"] = np.array([1, 1e300, 2])
    with pytest.warns(WeightsWarning) as caught:
        params, _ = interop.from_torch(layer, arrays)
    assert caught[0].filename == __file__
    assert str(caught[0].message).startswith(
        "3 tensors hold NaN or infinity: attention1.in_proj_weight; linear1.bias; "
        "batch_norm1.running_var; "
    )
    assert np.isinf(params["linear1"]["bias"][1])


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
        "4 tensors do not fit this serial: conv1.bias: wanted [2], got int8[2]; "
        "conv1.weight: wanted [2, 1, 3, 3], got [2, 3, 3, 1]; "
        "batch_norm1.bias: wanted [2], got none, the nearest is fc.weight [10, 2]"
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
        "4 leaves do not fit this linear: "
        "bias: wanted [3], got none, the nearest is linear1/bias [3]; "
        "kernel: wanted [2, 3], got none, the nearest is linear1/kernel [2, 3]"
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


def test_the_values_of_a_misshapen_tensor_are_not_looked_at(torch):
    """One number in the shape of four terabytes: it is there only for whoever looks."""
    given = {"weight": torch.zeros(1).half().expand(10**12), "bias": torch.zeros(3)}
    with pytest.raises(WeightsError, match=r"weight: wanted \[3, 2\], got \[1000000000000\]"):
        interop.from_torch(nn.linear(2, 3), given)


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
    with (
        zipfile.ZipFile(folder / "good.pt") as good,
        zipfile.ZipFile(folder / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in good.namelist():
            data = good.read(member)
            bomb.writestr(member, bytes(10**6) if "/data/" in member else data)
    os.mkfifo(folder / "pipe.pt")
    os.mkfifo(folder / "pipe.safetensors")
    return sorted(set(folder.iterdir()) - {folder / "good.pt"})


def test_hostile_and_damaged_files_are_refused_in_one_line(torch, tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "proof")))
    assert (tmp_path / "proof").is_dir()  # so it does run where somebody lets it
    (tmp_path / "proof").rmdir()
    layer = nn.linear(2, 3)
    paths = hostile(torch, tmp_path)
    assert len(paths) == 16
    for path in paths:
        with pytest.raises(WeightsError) as caught:
            interop.from_torch(layer, path)
        message = str(caught.value)
        assert message.startswith(f"{path}: "), message
        assert "\n" not in message
        assert ("BadZipFile" in message) == (path.name == "bomb.pt")
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


def test_the_home_folder_is_understood(torch, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "w.pt")
    interop.from_torch(nn.linear(2, 3), "~/w.pt")


@pytest.mark.parametrize("name", ["w\0.pt", "w\0.safetensors", "\ud800.pt"])
def test_a_name_that_no_file_can_have_is_one_line(name):
    with pytest.raises(WeightsError, match="is no path"):
        interop.from_torch(nn.linear(2, 3), name)
