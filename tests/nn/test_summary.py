from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import models, nn
from dlcore.nn.summary import structure


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """Sets how many columns the terminal has: a hundred, until it is called."""

    def set_columns(columns):
        monkeypatch.setenv("COLUMNS", str(columns))

    set_columns(100)
    return set_columns


def test_lenet5_is_a_table_of_a_hundred_columns():
    table = nn.summary(models.lenet5(), (2, 28, 28, 1))
    text = str(table).splitlines()
    assert text[0] == "input float32[2, 28, 28, 1]"
    assert max(map(len, text)) <= 100
    assert len({len(line) for line in text[1:-1]}) == 1
    assert len(text) == 1 + 1 + 1 + len(table.rows) + 1 + 1 + 1
    assert text[3].split() == [
        "conv1", "conv(1,", "6,", "5,", "padding=SAME)", "[2,", "28,", "28,", "6]",
        "156", "624", "479,808",
    ]  # fmt: skip
    assert text[-2].split() == ["total", "61,706", "246,824", "1,692,112"]
    assert text[-1] == "depth 5 · trainable 61,706 · frozen 0 · state 0"
    assert table.parameters == sum(row.parameters for row in table.rows) == 61_706
    assert table.bytes == 4 * 61_706
    assert table.flops == sum(row.flops for row in table.rows)
    assert table.depth == 5


def test_layers_are_written_as_the_call_that_makes_them():
    layer = nn.serial(
        nn.standardize((0.49139968, 0.48215841), (0.2470, 0.2435)),
        nn.conv(2, 4, (3, 1), stride=2, padding=((1, 1), (0, 0)), bias=False),
        functools.partial(F.leaky_relu, negative_slope=0.2),
        nn.avg_pool(2, stride=1),
        nn.prelu(),
        nn.prelu(4),
    )
    table = nn.summary(layer, (1, 9, 9, 2))
    assert [row.layer for row in table.rows] == [
        "standardize((0.4914, 0.4822), (0.247, 0.2435))",
        "conv(2, 4, (3, 1), stride=2, padding=((1, 1), (0, 0)), bias=False)",
        "leaky_relu(negative_slope=0.2)",
        "avg_pool(2, stride=1)",
        "prelu",
        "prelu(4)",
    ]
    assert max(map(len, str(table).splitlines())) <= 100


def test_flops_are_two_for_a_multiply_add():
    """By hand: conv 6 @ 5×5 on 28×28, with its bias; linear 84 → 10, with its bias."""
    rows = {row.path: row for row in nn.summary(models.lenet5(), (8, 28, 28, 1)).rows}
    assert rows["conv1"].flops == 8 * 28 * 28 * 6 * (2 * 25 + 1)
    assert rows["linear3"].flops == 8 * 10 * (2 * 84 + 1)
    assert rows["max_pool1"].flops == rows["flatten1"].flops == 0


def test_state_counts_as_bytes_not_as_parameters():
    (row,) = nn.summary(nn.batch_norm(8), (4, 8)).rows
    assert (row.path, row.parameters, row.bytes) == ("batch_norm1", 16, 4 * 32)
    table = nn.summary(nn.batch_norm(8), (4, 8))
    assert (table.parameters, table.trainable, table.frozen, table.state) == (16, 16, 0, 16)


def test_frozen_leaves_are_said_and_counted():
    """By hand: linear 4·4 + 4, batch norm 2·4 and 2·4 of state, linear 4·2 + 2."""
    layer = nn.serial(nn.linear(4, 4), nn.batch_norm(4), F.relu, nn.linear(4, 2))
    layer = nn.serial(layer, nn.dropout(0.5))
    table = nn.summary(nn.freeze(layer, ["*/linear1/**", "*/batch_norm1/**", "**/bias"]), (3, 4))
    assert [row.frozen for row in table.rows] == ["all", "all", "", "bias", ""]
    assert (table.parameters, table.frozen, table.trainable, table.state) == (38, 30, 8, 8)
    head, first = str(table).splitlines()[1], str(table).splitlines()[3]
    assert head.split()[3] == "frozen"
    assert first.split()[-4:] == ["all", "20", "80", str(table.rows[0].flops)]
    assert str(table).endswith("trainable 8 · frozen 30 · state 8")
    table = nn.summary(nn.freeze(layer, ["**/mean", "*/batch_norm1/scale"]), (3, 4))
    assert [row.frozen for row in table.rows] == ["", "mean, scale", "", "", ""]
    assert (table.frozen, table.trainable) == (4, 34)
    assert "frozen" not in str(nn.summary(layer, (3, 4))).splitlines()[1]


def deep():
    """Paths of 40 characters and calls of 60, in a network that is quick to look at."""
    block = nn.conv(8, 8, (3, 1), padding=((1, 1), (0, 0)), bias=False)
    for name in ("projection", "attention", "block"):
        block = nn.serial(nn.named(name, nn.residual(block)))
    return nn.serial(nn.named("encoder", block), nn.flatten, nn.linear(8 * 81, 3))


@pytest.mark.parametrize("columns", [200, 120, 100, 80, 60, 50, 40])
@pytest.mark.parametrize(
    ("make", "shape"), [(models.lenet5, (1000, 28, 28, 1)), (deep, (1000, 9, 9, 8))]
)
def test_no_line_is_longer_than_the_terminal(terminal, make, shape, columns):
    table = nn.summary(make(), shape)
    terminal(columns)
    lines = str(table).splitlines()
    assert max(map(len, lines)) <= columns
    rules = [i for i, line in enumerate(lines) if set(line) == {"─"}]
    assert rules[1] - rules[0] - 1 == len(table.rows)
    for row, line in zip(table.rows, lines[rules[0] + 1 : rules[1]], strict=True):
        shown = line.split()[0]
        assert shown == row.path or (shown[:2] == "…/" and row.path.endswith(shown[1:]))
        assert f"{row.parameters:,}" in line
    facts = " ".join(lines[rules[1] + 1 :])
    for number in (table.parameters, table.bytes, table.flops):
        assert f"{number:,}" in facts


def test_a_narrow_terminal_has_fewer_columns(terminal):
    table = nn.summary(models.lenet5(), (1, 28, 28, 1))
    heads = {}
    for columns in (90, 80, 60, 40, 20):
        terminal(columns)
        heads[columns] = str(table).splitlines()[1].split()
    assert heads[90] == ["path", "layer", "output", "parameters", "bytes", "FLOPs"]
    assert heads[80] == ["path", "layer", "output", "parameters", "FLOPs"]
    assert heads[60] == ["path", "layer", "output", "parameters"]
    assert heads[40] == ["path", "output", "parameters"]
    terminal(80)
    assert "conv(1, 6, 5, padding=SAME)" in str(table)
    assert str(table).endswith("state 0 · bytes 246,824")
    terminal(20)
    assert max(map(len, str(table).splitlines()[2:])) <= 20


def test_a_line_of_inputs_is_broken_between_them(terminal):
    def forward(parts, x, *, key, train, source, source_mask):
        return x

    terminal(50)
    table = nn.summary(nn.wire(forward), (8, 20, 64), source=(8, 30, 64), source_mask=(8, 30))
    assert str(table).splitlines()[:2] == [
        "input float32[8, 20, 64], source",
        "float32[8, 30, 64], source_mask bool[8, 30]",
    ]


def test_a_name_of_two_lines_is_one_row():
    table = nn.summary(nn.serial(nn.named("first\nsecond", nn.linear(4, 3))), (2, 4))
    assert str(table).splitlines()[3].startswith("first second  linear(4, 3)")


def test_a_setting_that_is_an_array_or_an_object_is_one_line():
    class Merge:
        pass

    def normal(mean, scale=(1, 1)):
        draw, apply = (
            lambda key: ((), ()),
            lambda params, state, x, *, key=None, train=False: (x, state),
        )
        return nn.make(normal, draw, apply, mean=mean, scale=scale)

    rows = nn.summary(nn.serial(normal(np.zeros((2, 2))), normal(Merge())), (2, 2)).rows
    assert rows[0].layer == "normal([[0. 0.] [0. 0.]])"
    assert rows[1].layer.endswith("Merge object>)")
    assert "0x" not in rows[1].layer


def tree_of_arrays():
    return {
        "conv1": {"kernel": np.zeros((5, 5, 1, 6), np.float32), "bias": jnp.zeros(6)},
        "rest": [jax.ShapeDtypeStruct((1000, 1000), jnp.bfloat16), np.int8(3), None],
        "key": jax.random.key(0),
    }


def test_a_tree_of_arrays_is_a_table_too():
    table = nn.summary(tree_of_arrays())
    assert [row[:4] for row in table.rows] == [
        ("conv1/bias", "[6]", "float32", 6),
        ("conv1/kernel", "[5, 5, 1, 6]", "float32", 150),
        ("key", "[]", "key<fry>", 1),
        ("rest/0", "[1000, 1000]", "bfloat16", 1_000_000),
        ("rest/1", "[]", "int8", 1),
    ]
    assert [row.bytes for row in table.rows] == [24, 600, 8, 2_000_000, 1]
    assert (table.parameters, table.bytes) == (1_000_158, 2_000_633)
    text = str(table).splitlines()
    assert len({len(line) for line in text}) == 1
    assert text[-1].split() == ["total", "5", "leaves", "1,000,158", "2,000,633"]


def test_a_tree_of_arrays_fits_the_terminal(terminal):
    tree = {"a_long_name_of_a_block": {"and_of_a_layer_in_it": tree_of_arrays()}}
    for columns in (80, 60, 40):
        terminal(columns)
        text = str(nn.summary(tree)).splitlines()
        assert max(map(len, text)) <= columns
        assert text[2].split()[0].endswith("/bias")


def test_params_are_those_of_the_network():
    layer = models.lenet5()
    params, _ = jax.eval_shape(layer.init, jax.random.key(0))
    table, network = nn.summary(params), nn.summary(layer, (1, 28, 28, 1))
    assert (table.parameters, table.bytes) == (network.parameters, network.bytes)
    assert str(nn.summary(())).splitlines()[-1].split() == ["total", "0", "leaves", "0", "0"]


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((3,), TypeError, "summary takes a Layer .*, or a tree of arrays alone, .*; got int$"),
        ((None,), TypeError, "; got None$"),
        (("lenet5",), TypeError, "; got str$"),
        (({"a": [1.0]},), TypeError, "; got float at a/0$"),
        (([nn.linear(4, 3), F.relu],), TypeError, "; got function at 0/init$"),
        (({"a": np.ones(2)}, (1, 4)), TypeError, "; got dict and a shape$"),
        ((nn.linear,), TypeError, r"linear makes a Layer and was not called: write linear\("),
        ((nn.linear(4, 3),), ValueError, "needs a shape with its batch axis, .* got None$"),
        ((nn.linear(4, 3), np.ones((8, 4))), ValueError, r"got float64\[8, 4\]$"),
        ((nn.linear(4, 3), "8, 4"), ValueError, "got '8, 4'$"),
        ((nn.linear(4, 3), (-1, 4)), ValueError, r"got \(-1, 4\)$"),
        ((nn.linear(4, 3), (True, 4)), ValueError, r"got \(True, 4\)$"),
    ],
)
def test_what_has_no_table_is_refused_in_one_line(args, error, message):
    with pytest.raises(error, match=message) as caught:
        nn.summary(*args)
    assert "\n" not in str(caught.value)


def test_the_structure_is_a_line_for_each_layer_by_its_call():
    layer = nn.serial(nn.linear(4, 4), nn.named("block", nn.residual(nn.serial(nn.dropout(0.5)))))
    assert structure(layer) == "\n".join(
        [
            "serial",
            "  linear1: linear(4, 4)",
            "  block: residual",
            "    body: serial",
            "      dropout1: dropout(0.5)",
            "    skip: identity",
        ]
    )
    assert structure(nn.freeze(layer, "linear1/**")) == structure(layer)
    assert structure(nn.linear(4, 3, bias=False)) == "linear(4, 3, bias=False)"


@pytest.mark.parametrize("how", [{}, {"scan": True}, {"remat": True}])
def test_nested_layers_are_rows_by_path(how):
    block = nn.residual(nn.serial(nn.linear(4, 4), F.tanh))
    layer = nn.serial(nn.repeat(block, 2, **how), nn.concat(nn.linear(4, 1), nn.linear(4, 2)))
    table = nn.summary(layer, (5, 4))
    assert [row.path for row in table.rows] == [
        *(f"repeat1/{i}/{leaf}" for i in (0, 1) for leaf in ("body/linear1", "body/tanh1", "skip")),
        "concat1/linear1",
        "concat1/linear2",
    ]
    assert table.parameters == 2 * 20 + 5 + 10
    assert table.depth == 3
    assert table.rows[0].output == "[5, 4]"


def test_wire_with_a_part_called_twice_and_one_not_at_all():
    def forward(parts, x, *, key, train):
        return parts.shared(parts.shared(x)) @ parts.tied.params["kernel"]

    layer = nn.wire(forward, shared=nn.linear(4, 4), tied=nn.linear(4, 3, bias=False))
    table = nn.summary(layer, (512, 4))
    shared, tied = table.rows
    assert shared.layer == "linear(4, 4) × 2"
    assert shared.flops == 2 * 512 * 4 * (2 * 4 + 1)
    assert shared.parameters == 20
    assert (tied.layer, tied.output, tied.parameters, tied.flops) == (
        "linear(4, 3, bias=False)",
        "not called",
        12,
        0,
    )
    assert table.parameters == 32
    assert table.flops == shared.flops + 2 * 512 * 3 * 4


def test_nothing_is_computed():
    """A billion parameters: memory would not do."""
    table = nn.summary(nn.linear(100_000, 1_000_000), (1_000_000, 100_000))
    assert table.parameters == 100_001_000_000
    assert table.bytes == 4 * table.parameters


def test_shapes_that_do_not_fit_name_the_layer():
    with pytest.raises(ValueError, match=r"conv expected \[B, H, W, 1\]") as error:
        nn.summary(models.lenet5(), (1, 28, 28, 3))
    assert "in layer conv1 (conv), given float32[1, 28, 28, 3]" in error.value.__notes__
    for shape in (784, (), None):
        with pytest.raises(ValueError, match="needs a shape with its batch axis"):
            nn.summary(models.lenet5(), shape)


def test_other_dtypes_of_input():
    table = nn.summary(lambda x: x + 1, [3, 2], jnp.int32)
    assert table.input == "int32[3, 2]"
    assert table.rows[0].output == "[3, 2]"


def test_outputs_are_those_of_the_layers():
    layer = models.lenet5((12, 12, 2), 3)
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((2, 12, 12, 2), jnp.float32)
    found = jax.eval_shape(functools.partial(nn.intermediates, layer), params, state, x)
    rows = nn.summary(layer, (2, 12, 12, 2)).rows
    assert {row.path: row.output for row in rows} == {
        path: str(list(y.shape)) for path, y in found.items()
    }


def test_what_takes_integers_is_given_them():
    layer = nn.serial(nn.embedding(5, 3), nn.linear(3, 2))
    assert repr(nn.summary(layer, (1, 4))) == repr(nn.summary(layer, (1, 4), jnp.int32))
    assert nn.summary(layer, (1, 4)).input == "int32[1, 4]"
    with pytest.raises(TypeError, match="embedding expected integers, got float32"):
        nn.summary(layer, (1, 4), jnp.float32)
    with pytest.raises(TypeError, match="embedding expected integers"):  # the first reason
        nn.summary(nn.serial(nn.embedding(5, 3), nn.linear(4, 2)), (1, 4))


def test_an_array_that_is_used_twice_is_marked_counted_once_and_frozen_at_both_ends():
    layer = models.gpt(65, 8, features=16, heads=2, layers=1)
    table = nn.summary(layer, (1, 8))
    assert [row.layer for row in table.rows if "tied" in row.layer] == ["tied embedding(65, 16)"]
    assert table.tied == ("embedding",)
    assert table.parameters == sum(row.parameters for row in table.rows)
    assert str(table).splitlines()[-1] == (
        "embedding is tied: used outside of its layer too, counts once, freezing it holds both ends"
    )
    held = str(nn.summary(nn.freeze(layer, "embedding/**"), (1, 8)))
    assert held.endswith("counts once, frozen at both ends")


def test_a_part_in_a_loop_is_tied_and_one_applied_by_hand_alone_is_not():
    def forward(parts, x, *, key, train):
        y, _ = parts.alone.apply(parts.alone.params, (), x)
        return parts.shared(y) @ parts.shared.params["kernel"].T

    one = nn.wire(forward, shared=nn.linear(4, 4), alone=nn.linear(4, 4))

    def over_time(parts, x, *, key, train):
        return nn.scan(lambda carry, x: (carry, parts.one(x)), 0.0, x)[1]

    table = nn.summary(nn.wire(over_time, one=one), (3, 2, 4))
    assert table.tied == ("one/shared",)


def test_what_is_frozen_before_it_is_wired_has_no_gradient_at_the_other_end_either():
    def forward(parts, x, *, key, train):
        return parts.one(x) @ parts.one.params["kernel"].T

    layer = nn.wire(forward, one=nn.freeze(nn.linear(4, 4), "kernel"))
    params, state = layer.init(jax.random.key(0))
    slope = jax.grad(lambda params: layer.apply(params, state, jnp.ones((2, 4)))[0].sum())(params)
    assert not slope["one"]["kernel"].any()
    assert slope["one"]["bias"].any()
