"""Recurrent layers beside the cell at every step, Flax's and PyTorch's."""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import interop, nn, optim, train
from dlcore.interop.weights import WeightsError
from tests.nn.test_side_inputs import WAYS

B, T = 3, 8
LENGTHS = np.array([8, 3, 0])
MASK = np.arange(T) < LENGTHS[:, None]
X = np.random.default_rng(0).normal(size=(B, T, 4)).astype(np.float32)

PAIRS = {
    "rnn": (nn.rnn, nn.rnn_cell, {}),
    "rnn relu": (nn.rnn, nn.rnn_cell, {"activation": "relu", "bias": False}),
    "lstm": (nn.lstm, nn.lstm_cell, {}),
    "lstm with all": (nn.lstm, nn.lstm_cell, {"peepholes": True, "projection": 2}),
    "gru": (nn.gru, nn.gru_cell, {}),
    "gru before": (nn.gru, nn.gru_cell, {"reset": "before"}),
}


def started(layer):
    """Its params and state, drawn in one program."""
    return jax.jit(layer.init)(jax.random.key(0))


def applied(layer, params, state, x, **side):
    """Its output, by one program."""
    return jax.jit(lambda *given: layer.apply(*given, **side)[0])(params, state, x)


def perturbed(params):
    """What begins at 0 counts too."""
    return jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(0.1), params)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_a_layer_is_its_cell_at_every_step(name, reverse):
    """With a mask: at real places, since before the first of them a cell has given nothing yet."""
    make, make_cell, settings = PAIRS[name]
    layer = make(4, 3, reverse=reverse, **settings)
    loop = nn.recurrent(make_cell(4, 3, **settings), reverse=reverse)
    params = perturbed(started(layer)[0])
    chex.assert_trees_all_equal_shapes(
        jax.eval_shape(loop.init, jax.random.key(0))[0], {"cell": params}
    )

    @jax.jit
    def both(params, x):
        def gradient(layer, params):
            def loss(x):
                y, _ = layer.apply(params, (), x, mask=MASK)
                return jnp.sum(jnp.where(MASK[..., None], jnp.sin(y), 0.0)), y

            return jax.grad(loss, has_aux=True)(x)

        return gradient(layer, params), gradient(loop, {"cell": params})

    (slope, y), (expected_slope, expected) = both(params, X)
    np.testing.assert_allclose(y[MASK], expected[MASK], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-4, atol=1e-5)


def of_torch(torch, kind, x, lengths, **settings):
    """A module of torch, and its outputs for padded sequences."""
    module = getattr(torch.nn, kind)(4, 3, batch_first=True, **settings)
    pack = torch.nn.utils.rnn.pack_padded_sequence
    packed = pack(torch.tensor(x), torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    y, end = module(packed)
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=T)
    return module, y, end


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize(
    "settings", [{}, {"num_layers": 2, "bidirectional": True}], ids=["one", "stack"]
)
def test_they_are_torchs_values_and_gradients_and_go_back(kind, settings, torch):
    x, real = X[:2], MASK[:2]
    module, expected, _ = of_torch(torch, kind, x, LENGTHS[:2], **settings)
    (expected[torch.tensor(real)] ** 3).sum().backward()
    ours = {name.replace("num_", ""): value for name, value in settings.items()}
    layer = getattr(nn, kind.lower())(4, 3, **ours)
    params, state = interop.from_torch(layer, module.state_dict())

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def gradient(params):
        y, _ = layer.apply(params, state, x, mask=real)
        return jnp.sum(jnp.where(real[..., None], y, 0.0) ** 3), y

    (_, y), slopes = gradient(params)
    np.testing.assert_allclose(y[real], expected.detach().numpy()[real], rtol=1e-5, atol=1e-6)
    slopes = interop.to_torch(layer, slopes, state)
    for name, parameter in module.named_parameters():
        if "bias_hh" not in name:  # ours is one bias, whose gradient both of torch's have
            torch.testing.assert_close(slopes[name], parameter.grad, rtol=1e-4, atol=1e-5)
    back = interop.to_torch(layer, params, state)
    assert sorted(back) == sorted(module.state_dict())
    module.load_state_dict(back)
    again = module(torch.tensor(x))[0].detach().numpy()
    np.testing.assert_allclose(applied(layer, params, state, x), again, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("settings", [{"projection": 2}, {"bias": False}])
def test_torchs_projections_and_layers_without_bias(settings, torch):
    theirs = {"proj_size": 2} if "projection" in settings else settings
    module = torch.nn.LSTM(4, 3, batch_first=True, num_layers=2, **theirs)
    layer = nn.lstm(4, 3, layers=2, **settings)
    params, state = interop.from_torch(layer, module.state_dict())
    expected = module(torch.tensor(X))[0].detach().numpy()
    np.testing.assert_allclose(applied(layer, params, state, X), expected, rtol=1e-4, atol=1e-5)
    assert sorted(interop.to_torch(layer, params, state)) == sorted(module.state_dict())


def test_a_gru_that_resets_before_the_product_is_not_torchs():
    layer = nn.serial(nn.gru(4, 3, reset="before"))
    params, state = started(layer)
    with pytest.raises(WeightsError, match=r'gru1: torch resets after.*reset="after"'):
        interop.to_torch(layer, params, state, numpy=True)


@pytest.mark.parametrize("train", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", WAYS)
def test_two_windows_are_the_whole(way, train):
    """Of real layers in a deep network, in each way of `repeat`, and the mask reaches all."""
    block = nn.residual(nn.serial(nn.layer_norm(6), nn.gru(6, 6)))
    layer = nn.serial(
        nn.embedding(5, 6),
        nn.lstm(6, 6, layers=2),
        nn.repeat(block, 2, **WAYS[way]),
        nn.recurrent(nn.serial(nn.rnn_cell(6, 6), nn.linear(6, 2))),
    )
    params, state = started(layer)
    x = np.random.default_rng(1).integers(0, 5, (B, T))

    def windows(start, *sizes):
        state, ys = start, []
        for window in np.split(np.arange(T), sizes):
            own = {**how, "mask": MASK[:, window]}
            y, state = layer.apply(params, state, x[:, window], **own)
            ys.append(y)
        return jnp.concatenate(ys, 1), state

    how = {"mask": MASK, "key": jax.random.key(1), "train": train}
    start = nn.joined(state, nn.memory(layer, B))
    whole, end = jax.jit(windows)(start)
    parts, part_end = jax.jit(lambda start: windows(start, 2, 5))(start)
    np.testing.assert_allclose(parts[MASK], whole[MASK], rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(part_end, end, rtol=1e-4, atol=1e-5)
    alone, same = jax.jit(lambda *given: layer.apply(*given, **how))(params, state, x)
    np.testing.assert_allclose(alone[MASK], whole[MASK], rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_equal(same, state)


def test_a_cell_with_a_state_beside_its_memory():
    """Batch norm's averages go on from step to step, also where not all rows are real."""
    layer = nn.recurrent(nn.serial(nn.batch_norm(4), nn.gru_cell(4, 3)))
    params, state = started(layer)

    @jax.jit
    def both(state):
        def of(train):
            return layer.apply(params, state, X, mask=MASK, train=train)[1]

        norm = nn.batch_norm(4)
        moved = state["cell"]["batch_norm1"]
        for t in range(T):
            x = jnp.where(MASK[:, t, None], X[:, t], 0.0)
            _, moved = norm.apply(params["cell"]["batch_norm1"], moved, x, train=True)
        return of(True), of(False), {"cell": {"batch_norm1": moved}}

    after, same, expected = both(state)
    chex.assert_trees_all_close(after, expected, rtol=1e-5)
    chex.assert_trees_all_equal(same, state)


@pytest.mark.parametrize("settings", [{"reverse": True}, {"bidirectional": True}, {"layers": 2}])
def test_what_begins_at_the_end_has_no_memory(settings):
    layer = nn.serial(nn.gru(4, 3, **settings))
    if settings == {"layers": 2}:
        assert [*nn.memory(layer, 2)["gru1"]] == ["0", "1"]
        return
    with pytest.raises(ValueError, match=r"memory: gru1.* has no memory: it begins at the end"):
        nn.memory(layer, 2)


def test_what_comes_back_is_within_each_length_and_in_the_order_of_time():
    layer = nn.lstm(4, 3, bidirectional=True)
    params, state = started(layer)
    y = applied(layer, params, state, X, mask=MASK)
    alone = applied(layer, params, state, X[1:2, :3])
    np.testing.assert_allclose(y[1, :3], alone[0], rtol=1e-4, atol=1e-6)
    turned = applied(nn.lstm(4, 3), params["backward"], (), X[:, ::-1])
    back = applied(layer, params, state, X)[..., 3:]
    np.testing.assert_allclose(back, turned[:, ::-1], rtol=1e-4, atol=1e-6)
    assert not y[2].any()  # nothing was ever seen


@pytest.mark.parametrize("make", [nn.rnn, nn.lstm, nn.gru], ids=lambda make: make.__name__)
def test_recurrent_dropout_is_one_mask_of_a_sequence(make):
    """A unit that is dropped enters no product of its sequence: its row of the kernel is idle."""
    rate, units, batch = 0.25, 64, 40
    layer = make(4, units, recurrent_dropout=rate)
    params, state = started(layer)
    x = np.ones((batch, 6, 4), np.float32)

    @jax.jit
    def slopes(key):
        def last(kernel):
            with_kernel = {**params, "recurrent_kernel": kernel}
            return jnp.sum(layer.apply(with_kernel, state, x, key=key, train=True)[0][:, -1], 1)

        return jax.jacrev(last)(params["recurrent_kernel"])

    moved = np.abs(slopes(jax.random.key(1))).sum(axis=2) > 0  # [B, units]
    assert abs(moved.mean() - (1 - rate)) < 3 * np.sqrt(rate * (1 - rate) / moved.size)
    assert len(np.unique(moved, axis=0)) == batch
    again, still = (applied(one, params, state, x) for one in (layer, make(4, units)))
    np.testing.assert_array_equal(again, still)
    with pytest.raises(ValueError, match="needs a key in training"):
        layer.apply(params, state, x, train=True)


def test_the_forget_gate_begins_open_and_there_is_one_bias():
    params, _ = nn.lstm(4, 3).init(jax.random.key(0))
    np.testing.assert_array_equal(params["bias"], [0] * 3 + [1] * 3 + [0] * 6)
    assert sorted(params) == ["bias", "kernel", "recurrent_kernel"]
    for gate in np.split(np.asarray(params["recurrent_kernel"]), 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(3), atol=1e-5)


def test_a_cell_of_ones_own_runs_is_seen_and_counted():
    """Any layer that remembers; also with side inputs, in a loop that an observer sees into."""

    def forward(parts, x, *, key, train, context):
        return parts.inner(jnp.concatenate([x, context], -1))

    cell = nn.wire(forward, inner=nn.gru_cell(6, 3))
    layer = nn.serial(nn.recurrent(cell), nn.linear(3, 2))
    params, state = started(layer)
    context = np.ones((B, 2), np.float32)
    whole = np.concatenate([X, np.ones((B, T, 2), np.float32)], -1)
    same = {"gru1": params["recurrent1"]["cell"]["inner"], "linear1": params["linear1"]}
    expected = applied(nn.serial(nn.gru(6, 3), nn.linear(3, 2)), same, (), whole)
    y = applied(layer, params, state, X, context=context)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)

    @jax.jit
    def outputs(params):
        _, seen = nn.observed(layer.apply, params, state, X, context=context)
        assert seen["recurrent1/cell/inner"].times == T
        return seen["recurrent1/cell/inner"].y

    of_cell = applied(nn.gru(6, 3), same["gru1"], (), whole)
    np.testing.assert_allclose(np.swapaxes(outputs(params), 0, 1), of_cell, rtol=1e-4, atol=1e-5)
    rows = {row.path: row for row in nn.summary(layer, X.shape, context=(B, 2)).rows}
    assert rows["recurrent1/cell/inner"].parameters == 6 * 9 + 3 * 9 + 9 + 3
    one = nn.summary(nn.gru_cell(6, 3), (B, 6)).rows[0].flops
    assert rows["recurrent1/cell/inner"].flops == T * one


def test_it_learns_which_of_two_came_first():
    """A question whose answer is at the beginning: the gradient comes all the way."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 256)
    x = rng.normal(0, 0.1, (256, 12, 1)).astype(np.float32)
    x[:, 0, 0] += 2 * first - 1
    layer = nn.serial(nn.lstm(1, 8), lambda h: h[:, -1], nn.linear(8, 2))
    optimizer = optim.adam(2e-2)
    step = train.make_step(train.classification(layer), optimizer)
    start = train.train_state(layer, optimizer)
    data = {"x": x, "y": first}
    *_, last = train.fit(step, start, data, epochs=8, batch_size=32)
    assert last.metrics["accuracy"] > 0.99


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: nn.lstm(4, 3, dropout=0.5), r"is between layers, .*nn.dropout\(0.5\)\)"),
        (lambda: nn.gru(4, 3, bidirectional=True, reverse=True), "bidirectional or reverse"),
        (lambda: nn.gru(4, 3, reset="off"), '"after" or "before"'),
        (lambda: nn.rnn(4, 0), "needs hidden ≥ 1"),
        (lambda: nn.rnn(4, 3, layers=0), "needs layers ≥ 1"),
        (lambda: nn.lstm(4, 3, recurrent_dropout=1.0), r"lies in \[0, 1\)"),
        (lambda: nn.LSTM, "did you mean lstm"),
        (
            lambda: nn.lstm(input_size=4, hidden_size=3, num_layers=2),
            r"write nn.lstm\(features=4, hidden=3, layers=2\)",
        ),
        (lambda: nn.rnn(4, 3, nonlinearity="relu"), r"nn.rnn\(4, 3, activation='relu'\)"),
        (lambda: nn.lstm(4, 3, proj_size=2), r"nn.lstm\(4, 3, projection=2\)"),
        (lambda: nn.lstm(4, 3, batch_first=True), "lstm has no batch_first, only features"),
        (lambda: given(nn.lstm(4, 3), X[0]), r"lstm expected \[B, T, 4\], got float32\[8, 4\]"),
        (lambda: given(nn.lstm_cell(4, 3), X), r"lstm_cell expected \[B, 4\], got float32\[3, 8"),
        (
            lambda: given(nn.gru(4, 3), X, mask=MASK[:, :4]),
            r"expected mask \[B, T\] of x float32",
        ),
        (lambda: given(nn.gru(4, 3), X, mask=MASK * 1), "gru expected a mask of True.*got int64"),
        (lambda: given(nn.gru(4, 3), X.astype(int)), "x is int.*floating point is wanted"),
    ],
)
def test_what_does_not_fit_is_told(call, told):
    with pytest.raises((ValueError, TypeError, AttributeError), match=told):
        call()


def given(layer, x, **side):
    return jax.eval_shape(lambda key: layer.apply(*layer.init(key), x, **side), jax.random.key(0))
