from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from dlcore import flops


def f32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def by_xla(function, *args) -> int:
    return int(jax.jit(function).lower(*args).compile().cost_analysis()["flops"])


def conv(x, kernel, *, stride=1, padding="VALID", groups=1, spread=1, inserted=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        lhs_dilation=(inserted, inserted),
        rhs_dilation=(spread, spread),
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (jnp.matmul, (f32(7, 5), f32(5, 3))),
        (jnp.matmul, (f32(4, 7, 5), f32(4, 5, 3))),
        (lambda x, y: jnp.einsum("abc,dca->db", x, y), (f32(2, 3, 4), f32(5, 4, 2))),
        (conv, (f32(2, 9, 9, 3), f32(3, 3, 3, 4))),
        (lambda x, k: conv(x, k, stride=2), (f32(2, 9, 9, 3), f32(3, 3, 3, 4))),
        (lambda x, k: conv(x, k, groups=3), (f32(2, 9, 9, 6), f32(3, 3, 2, 12))),
        (lambda x, k: conv(x, k, groups=6), (f32(2, 9, 9, 6), f32(3, 3, 1, 6))),
        (lambda x, k: conv(x, k, spread=2), (f32(2, 9, 9, 3), f32(3, 3, 3, 4))),
        (max_pool, (f32(2, 8, 8, 3),)),
        (lambda x: x.sum(axis=(0, 2)), (f32(3, 4, 5),)),
        (lambda x: x.max(), (f32(3, 4, 5),)),
        (lambda x, y: x * y + 1.0, (f32(3, 4), f32(3, 4))),
    ],
)
def test_agrees_with_the_compiler(function, args):
    assert flops.count(function, *args) == by_xla(function, *args)


def test_lenet5_by_hand():
    """LeCun 1998 with its 28×28 input padded by 2, ReLU and max pooling: layer by layer."""

    def layers(x, k1, k2, w3, w4, w5):
        x = max_pool(jnp.maximum(conv(x, k1, padding=((2, 2), (2, 2))), 0.0))
        x = max_pool(jnp.maximum(conv(x, k2), 0.0))
        for w in (w3, w4):
            x = jnp.maximum(x.reshape(x.shape[0], -1) @ w, 0.0)
        return x @ w5

    expected = (
        2 * 28 * 28 * 6 * 25 + 28 * 28 * 6 + 14 * 14 * 6 * 3
        + 2 * 10 * 10 * 16 * 25 * 6 + 10 * 10 * 16 + 5 * 5 * 16 * 3
        + 2 * 400 * 120 + 120 + 2 * 120 * 84 + 84 + 2 * 84 * 10
    )  # fmt: skip
    args = (f32(5, 5, 1, 6), f32(5, 5, 6, 16), f32(400, 120), f32(120, 84), f32(84, 10))
    assert flops.count(layers, f32(1, 28, 28, 1), *args) == expected
    assert flops.count(layers, f32(8, 28, 28, 1), *args) == 8 * expected


def test_padding_counts_as_in_the_papers():
    """ResNet's 3×3 layer on 56×56×64: 115.6 million multiply-adds (He et al. 2015, Table 1)."""
    same = lambda x, kernel: conv(x, kernel, padding="SAME")  # noqa: E731
    args = f32(1, 56, 56, 64), f32(3, 3, 64, 64)
    assert flops.count(same, *args) == 2 * 56 * 56 * 64 * 9 * 64
    assert by_xla(same, *args) < 2 * 56 * 56 * 64 * 9 * 64


def test_a_transposed_convolution_counts_every_input_once_for_each_tap():
    """4×4, stride 2, as in DCGAN: the zeros inserted between the inputs cost nothing."""
    up = lambda x, kernel: conv(x, kernel, inserted=2, padding=((2, 2), (2, 2)))  # noqa: E731
    args = f32(1, 7, 7, 5), f32(4, 4, 5, 3)
    assert jax.eval_shape(up, *args).shape == (1, 14, 14, 3)
    assert flops.count(up, *args) == 2 * (7 * 4) ** 2 * 5 * 3


def test_gradient_of_a_matrix_product_is_two_more():
    loss = lambda w, x: (x @ w).sum()  # noqa: E731
    args = f32(5, 3), f32(7, 5)
    product, total = 2 * 7 * 5 * 3, 7 * 3 - 1
    assert flops.count(loss, *args) == product + total
    assert flops.count(jax.value_and_grad(loss, (0, 1)), *args) == 3 * product + total


def test_softmax_by_hand():
    """Of n = 10: max n − 1, against −∞ 1, subtract n, exp n, sum n − 1, divide n."""
    assert flops.count(jax.nn.softmax, f32(4, 10)) == 4 * (9 + 1 + 10 + 10 + 9 + 10)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.T.reshape(-1)[::-1],
        lambda x: jnp.concatenate([x, x])[1:3],
        lambda x: jnp.where(x > 0, x, 0.0),
        lambda x: jnp.pad(x, 1).astype(jnp.bfloat16),
        lambda x: x[jnp.array([1, 0])],
        lambda x: x.at[0].set(1.0),
        lambda x: jnp.argmax(x) + jnp.arange(3),
        lambda x: lax.top_k(x, 2)[0],
        lambda x: jax.random.bits(jax.random.key(0), x.shape),
    ],
)
def test_moving_and_choosing_numbers_is_free(function):
    assert flops.count(function, f32(3, 4)) == 0


def test_scatter_adds_its_updates():
    assert flops.count(lambda x, y: x.at[jnp.array([0, 0])].add(y), f32(5, 4), f32(2, 4)) == 8


def with_jvp(function):
    custom = jax.custom_jvp(function)
    custom.defjvp(lambda primals, tangents: (custom(*primals), tangents[0]))
    return custom


def with_vjp(function):
    custom = jax.custom_vjp(function)
    custom.defvjp(lambda x: (function(x), None), lambda _, cotangent: (cotangent,))
    return custom


@pytest.mark.parametrize(
    "wrap", [jax.jit, jax.checkpoint, with_jvp, with_vjp, lambda f: jax.jit(jax.jit(f))]
)
def test_inner_calls_count_once(wrap):
    assert flops.count(wrap(lambda x: jnp.exp(x) * x), f32(6)) == 12


def test_a_call_with_an_integer_result_counts_what_it_contains():
    assert flops.count(jax.jit(lambda x: jnp.argmax(x @ x)), f32(4, 4)) == 2 * 4**3


def test_reduction_by_any_operation():
    fold = lambda x: lax.reduce(x, 1.0, lambda a, b: a * b + a, (1,))  # noqa: E731
    assert flops.count(fold, f32(3, 5)) == 3 * 4


def test_scan_counts_its_length():
    loop = lambda x: lax.scan(lambda c, _: (c @ c, None), x, length=9)[0]  # noqa: E731
    assert flops.count(loop, f32(4, 4)) == 9 * 2 * 4**3


def test_condition_counts_its_dearest_branch():
    branches = [lambda x: x, lambda x: x @ x, lambda x: x + x]
    switch = lambda i, x: lax.switch(i, branches, x)  # noqa: E731
    assert flops.count(switch, jnp.int32(0), f32(4, 4)) == 2 * 4**3


def test_while_counts_its_body_once():
    loop = lambda x: lax.fori_loop(0, x.shape[0] * jnp.int32(1), lambda i, c: c @ c, x)  # noqa: E731
    assert flops.count(loop, f32(4, 4)) == 2 * 4**3


def test_arguments_are_trees_of_arrays_or_shapes():
    predict = lambda params, x: x @ params["kernel"] + params["bias"]  # noqa: E731
    shapes = {"kernel": f32(5, 3), "bias": f32(3)}
    arrays = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)
    expected = 2 * 7 * 5 * 3 + 7 * 3
    assert flops.count(predict, shapes, f32(7, 5)) == expected
    assert flops.count(predict, arrays, jnp.zeros((7, 5))) == expected
    assert flops.count_jaxpr(jax.make_jaxpr(predict)(shapes, f32(7, 5))) == expected


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (conv, (f32(1, 8, 8, 1), f32(3, 3, 1, 1)), True),
        (jnp.matmul, (f32(4, 4), f32(4, 4)), False),
        (max_pool, (f32(1, 8, 8, 1),), False),
        (
            lambda xs, k: lax.scan(lambda _, x: (None, jax.jit(conv)(x, k)), None, xs)[1],
            (f32(5, 1, 8, 8, 1), f32(3, 3, 1, 1)),
            True,
        ),
        (
            lambda x, k: lax.cond(x.sum() > 0, lambda: conv(x, k), lambda: conv(x, -k)),
            (f32(1, 8, 8, 1), f32(3, 3, 1, 1)),
            True,
        ),
        (
            jax.grad(lambda x, k: jax.checkpoint(conv)(x, k).sum()),
            (f32(1, 8, 8, 1), f32(3, 3, 1, 1)),
            True,
        ),
    ],
)
def test_finds_a_convolution_at_any_depth(function, args, expected):
    assert flops.has_primitive(jax.make_jaxpr(function)(*args), *flops.CONVOLUTIONS) is expected
