from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest

from dlcore import functional as F
from dlcore import models, nn


def test_lenet5_is_a_table_of_a_hundred_columns():
    table = nn.summary(models.lenet5(), (2, 28, 28, 1))
    text = str(table).splitlines()
    assert text[0] == "input float32[2, 28, 28, 1]"
    assert max(map(len, text)) <= 100
    assert len({len(line) for line in text[1:]}) == 1
    assert len(text) == 1 + 1 + 1 + len(table.rows) + 1 + 1
    assert text[3].split() == [
        "conv1", "conv(1,", "6,", "5,", "padding=SAME)", "[2,", "28,", "28,", "6]",
        "156", "624", "479,808",
    ]  # fmt: skip
    assert text[-1].split()[0] == "total"
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
