from __future__ import annotations

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import analysis, models, nn
from dlcore import functional as F

module = importlib.import_module("dlcore.analysis.profile")


@pytest.fixture
def timed(monkeypatch):
    """The programs that are timed: each takes as many seconds as its number, from 1."""
    seen = []

    def medians(runs, rounds):
        jax.block_until_ready([run() for run in runs])
        seen.extend(runs)
        return [float(number) for number in range(1, len(runs) + 1)]

    monkeypatch.setattr(module, "_medians", medians)
    return seen


@pytest.fixture
def unmeasured(monkeypatch):
    """No layer is compiled: forward takes 3 ms, and 1 ms more with the gradient."""

    def measure(programs, *_):
        return [module.Cost(program.flops, 0.003, 0.001) for program in programs]

    monkeypatch.setattr(module, "_measure", measure)


def profiled(layer, *shape, dtype=jnp.float32, **settings):
    shapes = jax.eval_shape(layer.init, jax.random.key(0))
    params, state = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    return analysis.profile(layer, params, state, np.ones(shape, dtype), **settings)


def test_rows_are_those_of_the_summary(unmeasured):
    network = models.lenet5()
    found = profiled(network, 2, 28, 28, 1, train=False)
    table = nn.summary(network, (2, 28, 28, 1))
    assert found.input == table.input
    assert [(one.path, one.layer, one.output, one.flops) for one in found.rows] == [
        (one.path, one.layer, one.output, one.flops) for one in table.rows
    ]
    assert found.layers.flops == sum(one.flops for one in table.rows)
    assert found.network.flops == table.flops


def test_seconds_add_up(timed):
    """Of 5 pairs of programs, network first, the k-th takes 2k − 1 forward and 1 more with it."""
    layer = nn.serial(nn.linear(3, 4), F.relu, nn.linear(4, 4), F.relu, nn.linear(4, 4))
    found = profiled(layer, 2, 3)
    assert [one.forward for one in found.rows] == [3, 5, 7, 5, 7]
    assert [one.backward for one in found.rows] == [1] * 5
    assert found.layers[4:6] == (27, 5)
    assert found.network[4:6] == (1, 1)
    assert found.left[4:6] == (-26, -4)
    assert sum(one.share for one in found.rows) == pytest.approx(1)
    assert found.rows[0].share == pytest.approx(4 / 32)
    assert found.left.share == pytest.approx(-30 / 32)
    assert [(one.path, one.layer, one.seconds) for one in found.by_kind] == [
        ("linear", "× 3", 20),
        ("relu", "× 2", 12),
    ]
    for one in ("flops", "share"):
        assert sum(getattr(row, one) for row in found.by_kind) == pytest.approx(
            getattr(found.layers, one)
        )


def test_a_gradient_takes_no_less_than_nothing(monkeypatch):
    monkeypatch.setattr(module, "_medians", lambda runs, rounds: [3.0, 2.0] * (len(runs) // 2))
    found = profiled(nn.linear(3, 4), 2, 3)
    assert (found.rows[0].forward, found.rows[0].backward) == (3, 0)


def test_layers_alike_are_measured_once_but_functions_that_only_share_a_name_are_not(timed):
    """Of the linear layers the first has no gradient of its input; the lambdas differ."""
    layer = nn.serial(
        nn.linear(4, 4), nn.linear(4, 4), nn.linear(4, 4), lambda x: x + 1, F.relu, lambda x: x * 2
    )
    found = profiled(layer, 2, 4)
    first, second, third, plus, relu, times = found.rows
    assert len(timed) == 2 * (1 + 5)
    assert second[1:] == third[1:]
    assert len({one.forward for one in (first, second, plus, relu, times)}) == 5


def test_another_input_is_another_program(timed):
    profiled(nn.serial(nn.conv(1, 1, 3), nn.conv(1, 1, 3), nn.conv(1, 1, 3)), 1, 9, 9, 1)
    assert len(timed) == 2 * (1 + 3)


def results(timed):
    """(y, state) and gradients of each program with a gradient, the network's first."""
    return [run() for run in timed[1::2]]


def test_programs_give_what_the_layers_give_in_the_network(timed):
    """And the gradients of a sum of outputs, the cotangent of ones."""
    layer = nn.serial(nn.linear(3, 4), F.tanh, nn.linear(4, 2))
    params, state = layer.init(jax.random.key(1))
    x = np.random.default_rng(2).normal(size=(5, 3)).astype(np.float32)
    analysis.profile(layer, params, state, x)
    network, *layers = results(timed)
    outputs = jax.jit(lambda params: [*nn.intermediates(layer, params, state, x).values()])(params)
    for ((y, _), _), expected in zip(layers, outputs, strict=True):
        assert np.allclose(y, expected, atol=1e-6)
    grads = jax.jit(jax.grad(lambda params: layer.apply(params, state, x)[0].sum()))(params)
    for found, expected in zip(network[1], jax.tree.leaves(grads), strict=True):
        assert np.allclose(found, expected, atol=1e-5)
    *_, (_, (bias, kernel, given)) = layers
    assert np.allclose(bias, 5)
    hidden, second = jax.device_get((outputs[1], params["linear2"]["kernel"]))
    assert np.allclose(kernel, hidden.sum(0)[:, None] * np.ones(2), atol=1e-5)
    assert np.allclose(given, np.ones((5, 2)) @ second.T, atol=1e-5)


def counts(timed):
    return [len(gradients) for _, gradients in results(timed)]


def test_what_comes_before_the_first_parameters_has_no_backward_pass(timed):
    """Gradients: the network's 4; flatten none; of the first linear layer kernel and bias."""
    profiled(nn.serial(nn.flatten, nn.linear(4, 4), F.relu, nn.linear(4, 4)), 2, 2, 2)
    assert counts(timed) == [4, 0, 2, 1, 3]


def test_what_is_frozen_does_not_learn(timed):
    layer = nn.serial(nn.linear(4, 4), F.relu, nn.linear(4, 4))
    profiled(nn.freeze(layer, "linear1/**"), 2, 4)
    assert counts(timed)[2:] == [0, 2]


def test_integers_have_no_gradient_and_what_is_made_of_them_has(timed):
    def lookup(params, state, x, *, key=None, train=False):
        return params["kernel"][x], state

    table = nn.make("lookup", lambda key: ({"kernel": jnp.ones((5, 3))}, ()), lookup)
    positions = nn.from_function(lambda x: jnp.argmax(x, axis=-1), "argmax")
    found = profiled(nn.serial(table, nn.linear(3, 5), positions, table), 2, 3, dtype=jnp.int32)
    assert found.input == "int32[2, 3]"
    assert [one.output for one in found.rows] == ["[2, 3, 3]", "[2, 3, 5]", "[2, 3]", "[2, 3, 3]"]
    # The table, kernel and bias; nothing comes back to them from the positions.
    assert counts(timed) == [4, 1, 3, 1]


def normed():
    return nn.serial(nn.linear(3, 8), nn.batch_norm(8), F.relu, nn.dropout(0.5))


def test_state_and_keys(timed):
    found = profiled(normed(), 6, 3, key=jax.random.key(0))
    assert [one.path for one in found.rows] == ["linear1", "batch_norm1", "relu1", "dropout1"]
    (_, state), _ = results(timed)[0]
    assert state["batch_norm1"]["mean"].shape == (8,)


def test_a_key_is_needed_in_training_alone(unmeasured):
    with pytest.raises(ValueError, match=r"dropout\(0\.5\) needs a key in training"):
        profiled(normed(), 6, 3)
    profiled(normed(), 6, 3, train=False)


def test_wire_with_a_part_called_twice_and_one_not_at_all(timed):
    def forward(parts, x, *, key, train):
        return parts.twice(parts.twice(parts.first(x))) @ parts.tied.params["kernel"]

    parts = {"tied": nn.linear(4, 3, bias=False), "twice": nn.linear(4, 4)}
    layer = nn.wire(forward, **parts, first=nn.linear(2, 4))
    tied, twice, first = profiled(layer, 512, 2).rows
    assert len(timed) == 2 * (1 + 2)
    assert (tied.output, tied.flops, tied.seconds) == ("not called", 0, 0)
    assert twice.layer == "linear(4, 4) × 2"
    assert (first.forward, twice.forward) == (3, 2 * 5)
    assert twice.flops == 2 * 512 * 4 * (2 * 4 + 1)


def test_a_network_of_which_no_part_is_called(timed):
    layer = nn.wire(lambda parts, x, *, key, train: 2 * x, part=nn.linear(2, 2))
    found = profiled(layer, 3, 2)
    assert (found.layers.seconds, found.rows[0].share) == (0, 0)
    assert found.left[4:6] == found.network[4:6] == (1, 1)


@pytest.mark.parametrize(
    "how", [{}, {"scan": True}, pytest.param({"remat": True}, marks=pytest.mark.slow)]
)
def test_however_blocks_are_repeated(timed, how):
    layer = nn.repeat(nn.residual(nn.serial(nn.linear(4, 4), F.tanh)), 3, **how)
    found = profiled(layer, 2, 4)
    assert [one.path for one in found.rows] == [
        f"{i}/{leaf}" for i in range(3) for leaf in ("body/linear1", "body/tanh1", "skip")
    ]
    assert found.rows[3:6] == tuple(
        one._replace(path=one.path.replace("2/", "1/")) for one in found.rows[6:]
    )


def test_a_layer_alone_and_a_function_alone(timed):
    assert profiled(nn.linear(3, 4), 2, 3).rows[0].path == "linear1"
    (row,) = analysis.profile(F.relu, (), (), [[1.0, -1.0]]).rows
    assert (row.path, row.output, row.flops) == ("relu1", "[1, 2]", 2)


def test_it_prints_as_a_table(unmeasured, monkeypatch):
    found = profiled(models.lenet5(), 2, 28, 28, 1)
    monkeypatch.setenv("COLUMNS", "70")
    narrow = str(found).splitlines()
    assert max(map(len, narrow)) <= 70
    assert narrow[1].split() == ["path", "layer", "forward", "backward", "share", "GFLOP/s"]
    monkeypatch.setenv("COLUMNS", "100")
    text = str(found).splitlines()
    assert text[0] == "input float32[2, 28, 28, 1], times in milliseconds"
    assert max(map(len, text)) <= 100
    assert text[1].split() == ["path", "layer", "output", "forward", "backward", "share", "GFLOP/s"]
    rules = [i for i, line in enumerate(text) if set(line) == {"─"}]
    assert rules == [2, 2 + 12 + 1, 2 + 12 + 1 + 5 + 1]
    assert text[3].split() == [
        "conv1", "conv(1,", "6,", "5,", "padding=SAME)", "[2,", "28,", "28,", "6]",
        "3.000", "1.000", "8.3%", f"{2 * 28 * 28 * 6 * (2 * 25 + 1) / 0.003 / 1e9:.1f}",
    ]  # fmt: skip
    assert [line.split()[0] for line in text[rules[2] + 1 :]] == ["layers", "network", "left"]


def test_a_turn_is_one_long_call_or_many_short_ones_and_a_round_is_a_turn_of_each(monkeypatch):
    """By a clock that only the calls move; the first call of each takes ten times as long."""
    now, order = [0.0], []
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def program(name, seconds):
        def run():
            now[0] += seconds * (1 if name in order else 10)
            order.append(name)
            return jnp.zeros(())

        return run

    turn, least = module.TURN, module.TURN / module.CALLS / 4
    lengths = {"long": 2 * turn, "short": turn / 4, "least": least}
    found = module._medians([program(*one) for one in lengths.items()], rounds=3)
    assert found == pytest.approx(list(lengths.values()))
    one_round = ["long", *["short"] * 4, *["least"] * module.CALLS]
    assert order == ["long"] * 2 + ["short"] * 2 + ["least"] * 2 + 3 * one_round


def test_real_clock():
    found = profiled(nn.serial(nn.linear(3, 4), F.relu), 2, 3, rounds=1)
    assert all(one.forward > 0 and one.backward >= 0 for one in (*found.rows, found.network))


def test_bad_input_is_one_line():
    with pytest.raises(ValueError, match="profile needs rounds ≥ 1, got rounds=0"):
        profiled(nn.linear(3, 4), 2, 3, rounds=0)
    with pytest.raises(ValueError, match=r"conv expected \[B, H, W, 1\]") as error:
        profiled(models.lenet5(), 1, 28, 28, 3)
    assert "in layer conv1 (conv), given float32[1, 28, 28, 3]" in error.value.__notes__
