from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import functional as F
from dlcore import nn
from tests.cells import masked_mean

X = np.random.default_rng(0).normal(size=(4, 6, 8)).astype(np.float32)
MASK = np.arange(6) < np.array([6, 4, 2, 1])[:, None]
WAYS = {
    "unrolled": {"scan": False},
    "calls": {},
    "scan": {"scan": True},
    "remat": {"scan": False, "remat": True},
    "scan and remat": {"scan": True, "remat": True},
}


def reading(**read):
    """A layer of that apply's reads, which gives x + 1 for each one that came."""

    def apply(params, state, x, *, key=None, train=False, mask=None, time=None):
        return x + float(mask is not None) + 2.0 * (time is not None), state

    return nn.make("reading", lambda key: ((), ()), apply, **read)


# ------------------------------------------------------------------ what is read, from signatures


def test_what_a_leaf_reads_follows_from_its_signature():
    assert nn.linear(4, 2).info.reads == frozenset()
    assert reading().info.reads == {"mask", "time"}
    assert nn.as_layer(masked_mean).info.reads == {"mask"}
    assert nn.as_layer(F.relu).info.reads == frozenset()


def test_what_a_function_can_do_without_is_no_side_input():
    assert nn.as_layer(lambda x, *, scale=2.0: scale * x).info.reads == frozenset()
    halved = functools.partial(lambda x, *, scale: scale * x, scale=0.5)
    assert nn.as_layer(halved).info.reads == frozenset()

    def both(x, y, *, mask):
        return x

    with pytest.raises(TypeError, match="takes one array, but both needs x, y"):
        nn.as_layer(both)


def test_what_a_partial_fixes_is_not_read():
    def apply(params, state, x, *, key=None, train=False, mask=None):
        return x, state

    fixed = functools.partial(apply, mask=None)
    assert nn.make("fixed", lambda key: ((), ()), fixed).info.reads == frozenset()
    jitted = jax.jit(apply, static_argnames="train")
    assert nn.make("jitted", lambda key: ((), ()), jitted).info.reads == {"mask"}


@pytest.mark.parametrize("name", ["x", "y", "weight", "begins", "state", "params", "memory"])
def test_reserved_names_are_refused(name):
    namespace = {}
    exec(f"def apply(a, b, c, *, key=None, train=False, {name}=None): ...", namespace)
    with pytest.raises(ValueError, match=f"own cannot read '{name}' as a side input"):
        nn.make("own", lambda key: ((), ()), namespace["apply"])


# ------------------------------------------------------------------------------- through the house


def houses():
    one = nn.rnn(8, 8)
    parallel = nn.branch(jnp.add, one, nn.linear(8, 8))
    joined = nn.serial(nn.concat(one, nn.linear(8, 8)), nn.linear(16, 8))
    wired = nn.wire(lambda parts, x, *, key, train, **side: parts.one(x, **side), one=one)
    yield from {
        "serial": nn.serial(nn.linear(8, 8), one),
        "residual": nn.residual(one),
        "branch": parallel,
        "concat": joined,
        "wire": wired,
        "frozen": nn.freeze(nn.serial(nn.linear(8, 8), one), "linear1/**"),
        "replaced": nn.replace(nn.serial(nn.linear(8, 8), nn.linear(8, 8)), "linear2", one),
    }.items()
    for way, how in WAYS.items():
        yield way, nn.repeat(nn.residual(one), 2, **how)


HOUSES = dict(houses())


@pytest.mark.parametrize("name", HOUSES)
def test_a_mask_reaches_the_layer_that_reads_it(name):
    layer = nn.serial(nn.linear(8, 8), HOUSES[name], nn.linear(8, 3))
    assert layer.info.reads == {"mask"}
    params, state = layer.init(jax.random.key(0))

    @jax.jit
    def outputs(x):
        return layer.apply(params, state, x, mask=MASK)[0], layer.apply(params, state, x)[0]

    masked, plain = outputs(X)
    changed, _ = outputs(np.where(MASK[..., None], X, 9.0))
    np.testing.assert_allclose(masked[MASK], changed[MASK], rtol=1e-5, atol=1e-6)
    assert not np.allclose(masked, plain)
    with pytest.raises(TypeError, match=r"does not read 'maks', did you mean 'mask'\?"):
        layer.apply(params, state, X, maks=MASK)


def test_a_layer_that_reads_nothing_refuses_by_name():
    layer = nn.linear(8, 3)
    params, state = layer.init(jax.random.key(0))
    with pytest.raises(TypeError, match=r"linear does not read 'mask'\. It reads no side inputs"):
        layer.apply(params, state, X, mask=MASK)


def test_reads_shrink_with_what_is_replaced():
    layer = nn.serial(nn.rnn(8, 8), nn.linear(8, 8))
    assert nn.replace(layer, "rnn1", nn.linear(8, 8)).info.reads == frozenset()
    before, after = nn.split(layer, "linear1")
    assert (before.info.reads, after.info.reads) == ({"mask"}, frozenset())
    assert nn.thaw(nn.freeze(layer, "**"), "**").info.reads == {"mask"}


def test_side_inputs_are_arrays():
    layer = nn.serial(reading())
    with pytest.raises(TypeError, match=r"side input mask='left' is no array; a setting belongs"):
        layer.apply((), (), X, mask="left")
    with pytest.raises(TypeError, match=r"jnp.asarray\(time\)"):
        layer.apply((), (), X, time=3)


def test_a_required_side_input_that_is_missing_is_named():
    layer = nn.serial(nn.linear(8, 8), nn.named("mean", masked_mean))
    params, state = layer.init(jax.random.key(0))
    message = "masked_mean reads 'mask', which was not given"
    with pytest.raises(TypeError, match=message) as error:
        layer.apply(params, state, X)
    assert "in layer mean" in str(error.value.__notes__)


# ------------------------------------------------------------------------------------------- wire


def test_wire_hands_on_by_name_alone():
    def forward(parts, x, *, key, train, target, mask=None):
        hidden = parts.encoder(x, mask=mask)
        return parts.decoder(target) + hidden[:, :1]

    layer = nn.wire(forward, encoder=nn.rnn(8, 8), decoder=nn.rnn(8, 8))
    assert layer.info.reads == {"target", "mask"}
    params, state = layer.init(jax.random.key(0))
    target = X[:, :3]
    y, _ = layer.apply(params, state, X, target=target, mask=MASK)
    decoded, _ = nn.rnn(8, 8).apply(params["decoder"], (), target)  # without the encoder's mask
    encoded, _ = nn.rnn(8, 8).apply(params["encoder"], (), X, mask=MASK)
    np.testing.assert_allclose(y, decoded + encoded[:, :1], rtol=1e-5, atol=1e-6)


def test_wire_renames_and_refuses_what_a_part_does_not_read():
    inner = nn.wire(lambda parts, x, *, key, train, source: x + source)

    def of(name):
        def forward(parts, x, *, key, train):
            return parts.a(x, **{name: 2 * x})

        return nn.wire(forward, a=inner)

    assert of("source").info.reads == frozenset()
    np.testing.assert_allclose(of("source").apply((), (), X)[0], 3 * X)
    with pytest.raises(TypeError, match="part 'a' does not read 'sourc', did you mean 'source'"):
        of("sourc").apply((), (), X)


def test_wire_with_side_reads_what_its_parts_read():
    def forward(parts, x, *, key, train, **side):
        return parts.up(parts.mean(x, **side), **side)

    layer = nn.wire(forward, mean=nn.linear(8, 8), up=nn.serial(reading()))
    assert layer.info.reads == {"mask", "time"}
    params, state = layer.init(jax.random.key(0))
    y, _ = layer.apply(params, state, X, time=jnp.ones(4))
    plain, _ = layer.apply(params, state, X)
    np.testing.assert_allclose(y, plain + 2, rtol=1e-6)
    with pytest.raises(TypeError, match="'tme', did you mean 'time'"):
        layer.apply(params, state, X, tme=jnp.ones(4))


# ------------------------------------------------------------------------- what an apply gives back


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (lambda state, x: x, r"odd: apply gave float32\[2, 8\], but the pair \(y, state\)"),
        (lambda state, x: (x,), r"apply gave \(float32\[2, 8\]\), but the pair"),
        (lambda state, x: (x, {}), "gave back {}; its structure"),
        (lambda state, x: (x, {"n": jnp.zeros((2, 1))}), r"gave back {n: float32\[2, 1\]}"),
        (lambda state, x: (x, {"n": jnp.zeros(1, int)}), r"gave back {n: int32\[1\]}"),
    ],
)
@pytest.mark.parametrize("depth", [0, 2])
def test_what_an_apply_gives_back_is_checked(gives, message, depth):
    def apply(params, state, x, *, key=None, train=False):
        return gives(state, x)

    layer = nn.make("odd", lambda key: ((), {"n": jnp.zeros(1)}), apply)
    for _ in range(depth):
        layer = nn.serial(nn.named("inner", layer))
    params, state = layer.init(jax.random.key(0))
    with pytest.raises((TypeError, ValueError), match=message) as error:
        layer.apply(params, state, jnp.ones((2, 8)))
    if depth:
        assert error.value.__notes__ == ["in layer inner/inner (odd), given float32[2, 8]"]


# ------------------------------------------------------------------------------ layers that read


def test_attention_attends_to_real_places_alone():
    layer = nn.attention(8, 2)
    params, state = layer.init(jax.random.key(0))
    whole = jax.jit(lambda x, mask: layer.apply(params, state, x, mask=mask)[0])(X, MASK)
    for row, length in enumerate(MASK.sum(1)):
        alone, _ = layer.apply(params, state, X[row : row + 1, :length])
        np.testing.assert_allclose(whole[row, :length], alone[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"attention expected mask \[B, T\]"):
        layer.apply(params, state, X, mask=MASK[:, :3])


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_batch_norm_counts_real_places_alone(momentum):
    layer = nn.batch_norm(8, momentum=momentum)
    params, state = layer.init(jax.random.key(0))
    train = jax.jit(lambda x, mask: layer.apply(params, state, x, mask=mask, train=True))
    y, new = train(X, MASK)
    real = X[MASK]  # [N, 8]
    np.testing.assert_allclose(
        y[MASK], (real - real.mean(0)) / np.sqrt(real.var(0) + 1e-5), rtol=1e-4, atol=1e-5
    )
    moved = {"mean": real.mean(0), "var": real.var(0)}
    for name, old in state.items():
        expected = momentum * old + (1 - momentum) * moved[name]
        np.testing.assert_allclose(new[name], expected, rtol=1e-4, atol=1e-6)
    _, still = train(X, np.zeros_like(MASK))
    np.testing.assert_array_equal(still["var"], state["var"])
    with pytest.raises(ValueError, match=r"batch_moments: mask is \(4, 5\)"):
        layer.apply(params, state, X, mask=MASK[:, :5], train=True)


def test_batch_norm_over_members_counts_all_their_real_places():
    layer = nn.batch_norm(8, axis_name="members")
    params, state = layer.init(jax.random.key(0))

    def one(x, mask):
        return layer.apply(params, state, x, mask=mask, train=True)

    y, new = jax.jit(jax.vmap(one, axis_name="members"))(X[:, None], MASK[:, None])
    together = nn.batch_norm(8)
    expected, whole = together.apply(params, state, X, mask=MASK, train=True)
    np.testing.assert_allclose(y[:, 0][MASK], expected[MASK], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new["var"][2], whole["var"], rtol=1e-5)


def test_an_empty_batch_leaves_batch_norms_averages():
    layer = nn.batch_norm(8)
    params, state = layer.init(jax.random.key(0))
    _, new = layer.apply(params, state, jnp.zeros((0, 8)), train=True)
    np.testing.assert_array_equal(new["mean"], state["mean"])


# ---------------------------------------------------------------------------------------- freezing


def test_a_frozen_leaf_has_no_gradient_where_another_part_uses_it():
    def forward(parts, x, *, key, train):
        return parts.embed(x) @ parts.embed.params["kernel"].T

    layer = nn.freeze(
        nn.serial(nn.named("tied", nn.wire(forward, embed=nn.linear(8, 4)))), "tied/embed/kernel"
    )
    params, state = layer.init(jax.random.key(0))
    gradient = jax.grad(lambda params: layer.apply(params, state, X)[0].sum())(params)
    embed = gradient["tied"]["embed"]
    assert not embed["kernel"].any()
    assert embed["bias"].any()
