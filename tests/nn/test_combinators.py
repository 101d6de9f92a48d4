from __future__ import annotations

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import device, nn
from dlcore import functional as F

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def names(layer):
    return [name for name, _ in layer.info.children]


def dropped(layer, x, key):
    """The training output of a layer without parameters."""
    return layer.apply((), (), x, key=key, train=True)[0]


# ----------------------------------------------------------------------------------------- names


def test_children_are_numbered_by_kind_or_named():
    layer = nn.serial(
        nn.linear(4, 4), F.relu, nn.named("head", nn.linear(4, 4)), F.relu, nn.linear(4, 2)
    )
    assert names(layer) == ["linear1", "relu1", "head", "relu2", "linear2"]
    params, state = layer.init(jax.random.key(0))
    assert list(params) == ["linear1", "head", "linear2"]
    assert state == ()


def test_names_are_unique():
    with pytest.raises(ValueError, match="'head' occurs more than once"):
        nn.serial(nn.named("head", F.relu), nn.named("head", F.tanh))
    with pytest.raises(ValueError, match="'relu1' occurs more than once"):
        nn.concat(F.relu, nn.named("relu1", F.tanh))


@pytest.mark.parametrize("name", ["", "a/b", "block*", 3])
def test_names_are_segments_of_a_path(name):
    with pytest.raises(ValueError, match="non-empty text without '/' or '\\*'"):
        nn.named(name, F.relu)


def test_nothing_is_left_of_layers_that_have_nothing():
    layer = nn.serial(nn.serial(F.relu, nn.flatten), nn.dropout(0.5))
    assert layer.init(jax.random.key(0)) == ((), ())
    nested = nn.serial(nn.serial(F.relu), nn.serial(nn.batch_norm(4, scale=False)))
    params, state = nested.init(jax.random.key(0))
    assert set(params["serial2"]["batch_norm1"]) == {"offset"}
    assert set(state["serial2"]["batch_norm1"]) == {"mean", "var"}
    assert "serial1" not in params


# ----------------------------------------------------------------------------- what is no layer


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (nn.linear, r"linear makes a Layer and was not called: write linear\(in_features, out_fea"),
        (nn.conv, r"write conv\(in_channels, out_channels, kernel_size\)"),
        (nn.prelu, r"write prelu\(\)"),
        (nn.linear(4, 4).init, "init is only one half of a Layer"),
        (nn.linear(4, 4).apply, "apply is only one half of a Layer"),
        (F.cross_entropy, "fix the others with functools.partial"),
        (3, "expected a Layer or a function of one array, got 3"),
        ("relu", "expected a Layer or a function of one array, got 'relu'"),
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        nn.serial,
        nn.residual,
        nn.concat,
        lambda layer: nn.repeat(layer, 2),
        lambda layer: nn.wire(lambda parts, x, *, key, train: x, part=layer),
    ],
)
def test_refuses(place, thing, message):
    with pytest.raises(TypeError, match=message):
        place(thing)


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="linear needs in_features ≥ 1, got in_features=0"):
        nn.linear(0, 3)
    with pytest.raises(ValueError, match="repeat needs at least one block, got n=0"):
        nn.repeat(F.relu, 0)
    with pytest.raises(ValueError, match=r"repeat needs at least one block, got n=2\.0"):
        nn.repeat(F.relu, 2.0)
    with pytest.raises(ValueError, match="concat needs at least one branch"):
        nn.concat()


# ---------------------------------------------------------------------- branch, concat, residual


def test_side_by_side():
    def double(x):
        return 2 * x

    def halve(x):
        return x / 2

    for layer, expected in [
        (nn.branch(jnp.subtract, double, halve), 1.5 * X),
        (nn.residual(double), 3 * X),
        (nn.residual(double, halve), 2.5 * X),
        (nn.concat(double, halve), np.concatenate([2 * X, X / 2], -1)),
        (nn.concat(double, halve, axis=0), np.concatenate([2 * X, X / 2], 0)),
    ]:
        np.testing.assert_allclose(jax.jit(layer.apply)((), (), X)[0], expected, rtol=1e-6)


def test_residual_does_not_broadcast():
    layer = nn.residual(nn.linear(4, 1))
    with pytest.raises(ValueError, match=r"body gives float32\[5, 1\] and the shortcut float32\[5"):
        layer.apply(*layer.init(jax.random.key(0)), X)


# ---------------------------------------------------------------------------------------- repeat


def block():
    return nn.serial(nn.linear(4, 4), nn.batch_norm(4), F.tanh, nn.dropout(0.3))


def gradients(layer):
    """Those of a sum of squares, and (y, the new state), as a function of (params, state)."""

    def loss(params, state):
        y, new = layer.apply(params, state, X, key=jax.random.key(1), train=True)
        return jnp.sum(y**2), (y, new)

    return jax.jit(jax.grad(loss, has_aux=True))


@pytest.fixture(scope="module")
def unrolled():
    layer = nn.repeat(block(), 3, scan=False)
    return layer, gradients(layer)


@pytest.mark.parametrize(
    ("scan", "calls", "remat"),
    [
        (True, False, False),
        (True, False, True),
        (None, True, False),
        (None, False, True),
        pytest.param(None, True, True, marks=pytest.mark.slow),
        pytest.param(None, False, False, marks=pytest.mark.slow),
    ],
)
def test_every_way_of_running_blocks_is_unrolled(scan, calls, remat, unrolled, monkeypatch):
    """Equal parameters, outputs, states and gradients, with batch norm and dropout."""
    monkeypatch.setattr(device, "repeats_by_calls", lambda: calls)
    plain, expected = unrolled
    other = nn.repeat(block(), 3, scan=scan, remat=remat)
    params, state = plain.init(jax.random.key(0))
    chex.assert_trees_all_equal(other.init(jax.random.key(0)), (params, state))
    assert params["2"]["linear1"]["kernel"].shape == (4, 4)
    found = gradients(other)
    for _ in range(2):
        wanted = expected(params, state)
        chex.assert_trees_all_close(wanted, found(params, state), rtol=1e-5, atol=1e-6)
        _, (_, state) = wanted


def test_scan_runs_without_parameters_or_key():
    y, state = nn.repeat(lambda x: 2 * x, 3, scan=True).apply((), (), X)
    np.testing.assert_allclose(y, 8 * X)
    assert state == ()


def lowered(n, *, scan):
    """The gradient of `n` blocks."""
    layer = nn.repeat(nn.serial(nn.linear(64, 64), F.tanh), n, scan=scan)
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    x = np.ones((32, 64), np.float32)
    gradient = jax.grad(lambda params, x: jnp.sum(layer.apply(params, state, x)[0]))
    return jax.jit(gradient).lower(params, x)


def traced(program):
    """How many products it is traced to."""
    return program.as_text().count("dot_general")


def compiled(program):
    """How many products it is compiled to."""
    return len(re.findall(r"\bdot\(|custom-call\(", program.compile().as_text()))


def test_what_a_loop_compiles_does_not_grow_with_n():
    few, many = (lowered(n, scan=True) for n in (2, 10))
    assert (traced(few), compiled(few)) == (traced(many), compiled(many))
    few, many = (lowered(n, scan=False) for n in (2, 10))
    assert traced(many) > 4 * traced(few)
    assert compiled(many) > 4 * compiled(few) > 0


def test_what_is_traced_for_calls_does_not_grow_with_n(monkeypatch):
    monkeypatch.setattr(device, "repeats_by_calls", lambda: True)
    assert traced(lowered(3, scan=None)) == traced(lowered(16, scan=None))


def test_a_block_that_is_called_is_compiled_once_for_all_and_for_ever(monkeypatch):
    """Also outside of jit, where each application would else compile it anew."""
    monkeypatch.setattr(device, "repeats_by_calls", lambda: True)
    traces = []

    def once(x):
        traces.append(x.shape)
        return 2 * x

    layer = nn.repeat(once, 4)
    for _ in range(3):
        y, _ = layer.apply((), (), X)
        np.testing.assert_allclose(y, 16 * X)
    assert traces == [X.shape]


@pytest.mark.parametrize("calls", [False, True])
def test_blocks_that_change_the_shape_repeat_too(calls, monkeypatch):
    monkeypatch.setattr(device, "repeats_by_calls", lambda: calls)
    layer = nn.repeat(lambda x: jnp.concatenate([x, x]), 3)
    y, _ = jax.jit(layer.apply)((), (), X)
    np.testing.assert_array_equal(y, np.concatenate([X] * 8))


def test_repeated_blocks_start_apart():
    params, _ = nn.repeat(nn.linear(4, 4), 2).init(jax.random.key(0))
    assert not np.array_equal(params["0"]["kernel"], params["1"]["kernel"])


# ------------------------------------------------------------------------------------------ wire


def test_wire_is_the_function_it_is_given():
    def forward(parts, x, *, key, train):
        hidden = F.relu(parts.encoder(x))
        return parts["decoder"](hidden) + x

    layer = nn.wire(forward, encoder=nn.linear(4, 3), decoder=nn.linear(3, 4))
    params, state = layer.init(jax.random.key(0))
    y, _ = jax.jit(layer.apply)(params, state, X)
    params = jax.device_get(params)
    hidden = np.maximum(X @ params["encoder"]["kernel"] + params["encoder"]["bias"], 0)
    expected = hidden @ params["decoder"]["kernel"] + params["decoder"]["bias"] + X
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_tied_weights_are_one_leaf_with_the_sum_of_the_gradients():
    def forward(parts, x, *, key, train):
        return parts.encoder(x) @ parts.encoder.params["kernel"].T

    layer = nn.wire(forward, encoder=nn.linear(4, 3, bias=False))
    params, state = layer.init(jax.random.key(0))
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(layer.apply(params, state, X)[0] ** 2)))
    # Of Σ (x·a·bᵀ)² with respect to a and to b, where both are the kernel.
    kernel = np.asarray(params["encoder"]["kernel"])
    back = 2 * X @ kernel @ kernel.T
    both = X.T @ back @ kernel + back.T @ X @ kernel
    np.testing.assert_allclose(gradient(params)["encoder"]["kernel"], both, rtol=1e-4, atol=1e-4)


def test_a_part_called_twice_continues_from_its_state_with_another_key():
    def forward(parts, x, *, key, train):
        return parts.norm(x), parts.norm(x + 1), parts.drop(x), parts.drop(x)

    layer = nn.wire(forward, norm=nn.batch_norm(4), drop=nn.dropout(0.5))
    params, state = layer.init(jax.random.key(0))
    apply = jax.jit(functools.partial(layer.apply, train=True))
    (_, _, first, second), new = apply(params, state, X, key=jax.random.key(1))
    assert not np.array_equal(first, second)
    mean = X.mean(0)
    np.testing.assert_allclose(
        new["norm"]["mean"], 0.9 * (0.1 * mean) + 0.1 * (mean + 1), rtol=1e-4, atol=1e-6
    )


def test_pure_apply_of_a_part_runs_inside_a_scan():
    def forward(parts, x, *, key, train):
        def turn(x, _):
            return parts.cell.apply(parts.cell.params, (), x)[0], None

        return jax.lax.scan(turn, x, length=3)[0]

    layer = nn.wire(forward, cell=nn.linear(4, 4, bias=False))
    params, state = layer.init(jax.random.key(0))
    kernel = np.asarray(params["cell"]["kernel"])
    y, _ = jax.jit(layer.apply)(params, state, X)
    np.testing.assert_allclose(y, X @ kernel @ kernel @ kernel, rtol=1e-4, atol=1e-5)


def test_a_part_that_is_not_there():
    layer = nn.wire(lambda parts, x, *, key, train: parts.decoder(x), encoder=F.relu)
    with pytest.raises(AttributeError, match="no part 'decoder'; it has encoder"):
        layer.apply((), (), X)


# ------------------------------------------------------------------------------------------ keys


def test_inserting_a_layer_changes_nobody_elses_randomness():
    short = nn.serial(nn.linear(4, 4), nn.dropout(0.5), nn.linear(4, 4))
    long = nn.serial(nn.linear(4, 4), F.identity, nn.dropout(0.5), F.identity, nn.linear(4, 4))
    params, state = short.init(jax.random.key(0))
    chex.assert_trees_all_equal(long.init(jax.random.key(0))[0], params)
    outputs = jax.jit(
        lambda params, key: [
            layer.apply(params, state, X, key=key, train=True)[0] for layer in (short, long)
        ]
    )(params, jax.random.key(1))
    np.testing.assert_array_equal(*outputs)


def test_masks_differ_by_layer_block_step_and_member():
    def masks(parts, x, *, key, train):
        return jnp.stack([parts.first(x), parts.second(x)])

    ones = np.ones((8, 8), np.float32)
    layer = nn.wire(masks, first=nn.dropout(0.5), second=nn.serial(nn.dropout(0.5)))
    step_keys = [jax.random.fold_in(jax.random.key(0), step) for step in range(3)]
    masked = functools.partial(dropped, layer, ones)
    by_step = [jax.jit(masked)(key) for key in step_keys]
    by_member = jax.jit(jax.vmap(masked))(jnp.stack(step_keys))
    np.testing.assert_array_equal(np.stack(by_step), by_member)
    different = np.asarray(by_member).reshape(6, 64)
    assert len(np.unique(different, axis=0)) == 6

    for scan in (False, True):
        kept = nn.repeat(nn.dropout(0.5), 3, scan=scan)
        masked = jax.jit(functools.partial(dropped, kept, np.ones((50, 50), np.float32)))
        left = np.mean(np.asarray(masked(jax.random.key(1))) != 0)
        assert abs(left - 0.5**3) < 0.04  # equal masks would leave a half


def test_dropout_asks_for_a_key_in_training():
    layer = nn.serial(nn.dropout(0.5))
    with pytest.raises(
        ValueError, match=r"dropout\(0.5\) needs a key in training: apply\("
    ) as error:
        layer.apply((), (), X, train=True)
    assert "in layer dropout1 (dropout), given float32[5, 4]" in error.value.__notes__
    assert layer.apply((), (), X)[0] is X
    assert nn.dropout(0.0).apply((), (), X, train=True)[0] is X
    with pytest.raises(TypeError, match=r"write jax.random.key\(0\)"):
        nn.dropout(0.5).apply((), (), X, key=np.zeros(2, np.uint32), train=True)


# ---------------------------------------------------------------------------------------- errors


def network():
    return nn.serial(
        nn.named("stem", nn.conv(3, 4, 3)),
        nn.named("block", nn.residual(nn.serial(nn.conv(4, 4, 3, padding=1), nn.conv(3, 4, 1)))),
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_an_error_names_its_layer_and_what_that_was_given(compiled):
    layer = network()
    params, state = layer.init(jax.random.key(0))
    apply = jax.jit(layer.apply) if compiled else layer.apply
    with pytest.raises(ValueError, match=r"conv expected \[B, H, W, 3\]") as error:
        apply(params, state, np.ones((2, 8, 8, 3), np.float32))
    notes = [note for note in error.value.__notes__ if note.startswith("in layer")]
    assert notes == ["in layer block/body/conv2 (conv), given float32[2, 6, 6, 4]"]


def test_an_error_names_parameters_that_do_not_fit():
    layer = nn.serial(nn.linear(4, 3))
    other, state = nn.serial(nn.linear(4, 5, bias=False)).init(jax.random.key(0))
    told = (
        r"params/linear1/kernel: wanted \[4, 3\], got \[4, 5\]; "
        r"params/linear1/bias: wanted \[3\], got none$"
    )
    with pytest.raises(ValueError, match=told):
        layer.apply(other, state, X)


# --------------------------------------------------------------------------------- intermediates


@pytest.mark.parametrize("how", [{}, {"scan": True}, {"remat": True}])
def test_intermediates_by_path(how):
    layer = nn.serial(nn.repeat(nn.serial(nn.linear(4, 4), F.tanh), 2, **how), nn.linear(4, 2))
    params, state = layer.init(jax.random.key(0))
    y, _ = jax.jit(layer.apply)(params, state, X)
    found = jax.jit(lambda params, x: nn.intermediates(layer, params, state, x))(params, X)
    assert set(found) == {
        *(f"repeat1/{i}{leaf}" for i in (0, 1) for leaf in ("", "/linear1", "/tanh1")),
        "repeat1",
        "linear1",
    }
    np.testing.assert_allclose(found["linear1"], y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["repeat1/1"], found["repeat1"])
    np.testing.assert_allclose(
        found["repeat1/0/tanh1"],
        np.tanh(X @ np.asarray(params["repeat1"]["0"]["linear1"]["kernel"])),
        rtol=1e-4,
        atol=1e-5,
    )


def test_intermediates_of_a_part_called_twice():
    layer = nn.wire(lambda parts, x, *, key, train: parts.f(parts.f(x)), f=lambda x: x + 1)
    found = nn.intermediates(layer, (), (), X)
    np.testing.assert_allclose(found["f"], X + 1)
    np.testing.assert_allclose(found["f'"], X + 2)
