from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import models, nn


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def shapes(layer):
    return jax.eval_shape(layer.init, jax.random.key(0))


@pytest.mark.parametrize(
    ("size", "parameters"),
    # table 1 of Touvron et al. 2021: 5, 22 and 86 million; to the unit timm's, and for base
    # torchvision's num_params of vit_b_16
    [
        ("tiny", 5_717_416),
        pytest.param("small", 22_050_664, marks=pytest.mark.slow),
        ("base", 86_567_656),
    ],
)
def test_parameters_are_the_published_ones(size, parameters):
    summary = nn.summary(models.vit(size), (1, 224, 224, 3))
    assert summary.parameters == parameters
    outputs = {row.path: row.output for row in summary.rows}
    width = models.vit(size).info.children[0][1].info.config["out_channels"]
    assert outputs["patches"] == f"[1, 14, 14, {width}]"
    assert outputs["position"] == f"[1, 197, {width}]"
    assert outputs["blocks/11/mlp/body/linear1"] == f"[1, 197, {4 * width}]"
    assert outputs["head"] == "[1, 1000]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "width", "heads", "scan"),
    [("tiny", 192, 3, False), ("tiny", 192, 3, True), ("small", 384, 6, True)],
)
def test_equals_torch(size, width, heads, scan, torch):
    from tests.models import torch_residual
    from tests.models.parity import assert_equal_to_torch

    network = torch_residual.moved(torch_residual.ViT(width, heads, 8, 6, 5))
    layer = models.vit(size, (24, 16, 3), 5, patch=8, scan=scan)
    assert_equal_to_torch(layer, network, images(3, 24, 16, 3), train=True)


def test_scanned_has_the_same_parameters():
    unrolled, scanned = (shapes(models.vit("tiny", scan=scan)) for scan in (False, True))
    chex.assert_trees_all_equal(unrolled, scanned)


def test_without_positions_the_order_of_patches_is_nothing():
    layer = models.vit("tiny", (16, 16, 1), 3, patch=8, scan=True)
    rng = np.random.default_rng(1)
    params, state = jax.tree.map(
        lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype), shapes(layer)
    )
    params["position"]["embedding"] *= 10
    x = images(2, 16, 16, 1)
    turned = np.roll(x, 8, axis=1)  # patches of the upper row below, and so the other way
    apply = jax.jit(lambda params, x: layer.apply(params, state, x)[0])
    assert not np.allclose(apply(params, x), apply(params, turned), atol=1e-3)
    params["position"]["embedding"] = np.zeros_like(params["position"]["embedding"])
    np.testing.assert_allclose(apply(params, x), apply(params, turned), rtol=1e-4, atol=1e-5)


def test_starts_as_the_papers_code_does():
    parts = dict(models.vit("tiny", classes=10).info.children)
    parts["block"] = parts["blocks"].info.children[0][1]
    params = {
        name: jax.device_get(parts[name].init(jax.random.key(0))[0])
        for name in ("class_token", "position", "head", "block")
    }
    np.testing.assert_array_equal(params["head"]["kernel"], 0)
    np.testing.assert_array_equal(params["class_token"]["embedding"], 0)
    np.testing.assert_allclose(params["position"]["embedding"].std(), 0.02, rtol=0.05)
    query = params["block"]["attention"]["body"]["attention1"]["query"]["kernel"]
    np.testing.assert_allclose(abs(query).max(), np.sqrt(6 / (192 + 192)), rtol=0.01)
    bias = params["block"]["mlp"]["body"]["linear1"]["bias"]
    np.testing.assert_allclose(bias.std(), 1e-6, rtol=0.1)


def test_an_image_of_another_size_is_refused():
    layer = models.vit("tiny", (32, 32, 3), 10)
    x = jax.ShapeDtypeStruct((2, 48, 32, 3), jnp.float32)
    with pytest.raises(ValueError, match=r"patch_position expected \[B, 5, 192\], got"):
        jax.eval_shape(layer.apply, *shapes(layer), x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "huge"}, r"vit: size is 'huge', but must be one of \['tiny', 'small', 'base'\]"),
        ({"size": ["base"]}, r"vit takes text as size, got \['base'\]"),
        ({"inputs": [224, 230, 3]}, r"patches divide, got inputs=\[224, 230, 3\], patch=16"),
        ({"patch": 0}, "patches divide, got .* patch=0"),
        ({"inputs": 224}, r"vit needs inputs \(height, width, channels\)"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        models.vit(**arguments)
