from __future__ import annotations

import itertools
import math

import jax
import numpy as np
import optax
import pytest

from dlcore import data, models, nn, optim, search, train
from dlcore import functional as F
from dlcore.search import space, together
from tests.problems import make_blobs

EPOCHS, BATCH = 3, 16


def build(h):
    """A small network with everything that a float can steer."""
    std = h.get("scale", 0.5)
    layer = nn.serial(
        nn.linear(4, h.get("width", 6), kernel_init=nn.init.normal(std)),
        F.tanh,
        nn.dropout(h.get("dropout", 0.0)),
        nn.linear(h.get("width", 6), 3),
    )
    penalty = optim.l2(h.get("decay", 0.0), mask="**/kernel")
    objective = train.regularized(train.classification(layer), penalty)
    rate, momentum = h.get("learning_rate", 0.1), h.get("momentum", 0.9)
    return layer, objective, optim.momentum(rate, momentum)


LINEAR = nn.linear(4, 3)
OBJECTIVE = train.classification(LINEAR)


def build_linear(h):
    """Where any network would do."""
    return LINEAR, OBJECTIVE, optim.sgd(h["learning_rate"])


def single(configuration, examples, validation, epochs=EPOCHS, build=build):
    """(history, last state) of one run of `fit`."""
    configuration = dict(configuration)
    seed = configuration.pop("seed", 0)
    layer, objective, optimizer = build(configuration)
    step = train.make_step(objective, optimizer)
    state = train.train_state(layer, optimizer, seed=seed)
    history = []
    for record in train.fit(
        step, state, examples, epochs=epochs, batch_size=BATCH, validation=validation
    ):
        scores = {f"validation_{name}": value for name, value in record.validation.items()}
        history.append({"epoch": record.epoch, "step": record.step, **record.metrics, **scores})
    return history, record.state


def assert_same(trial, history, state):
    for one, other in zip(trial.history, history, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name] == pytest.approx(other[name], rel=2e-5, abs=1e-6), name
    leaves = zip(jax.tree.leaves(trial.state), jax.tree.leaves(state), strict=True)
    for one, other in leaves:
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-5)


SPACE = [
    {"learning_rate": 0.3, "momentum": 0.5, "dropout": 0.0, "decay": 0.0, "scale": 0.1, "seed": 0},
    {"learning_rate": 0.1, "momentum": 0.9, "dropout": 0.3, "decay": 1e-2, "scale": 1.0, "seed": 0},
    {"learning_rate": 0.01, "momentum": 0.0, "dropout": 0.1, "decay": 0.0, "scale": 0.5, "seed": 7},
]


@pytest.fixture(scope="module")
def expected():
    """The data of the first test, and what `fit` makes of each configuration."""
    examples, validation = make_blobs(70), make_blobs(37, seed=1)
    return examples, validation, [single(one, examples, validation) for one in SPACE]


@pytest.mark.parametrize(
    "at_once", [None, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))]
)
def test_each_trial_is_a_single_fit(at_once, expected):
    examples, validation, runs = expected
    swept = search.sweep(
        build,
        SPACE,
        examples,
        epochs=EPOCHS,
        batch_size=BATCH,
        validation=validation,
        at_once=at_once,
    )
    for trial, configuration, run in zip(swept.trials, SPACE, runs, strict=True):
        assert trial.configuration == configuration
        assert trial.stopped is None
        assert_same(trial, *run)


def test_a_program_for_each_shape_and_one_for_all_floats(blobs):
    traced = []

    def counting(h):
        traced.append(isinstance(h["learning_rate"], jax.core.Tracer))
        layer = nn.serial(nn.linear(4, h["width"]), nn.linear(h["width"], 3))
        return layer, train.classification(layer), optim.momentum(h["learning_rate"], h["decay"])

    rates = space.grid(width=[3, 5], learning_rate=[0.01, 0.1, 0.2], decay=[0.0, 0.9])
    found = together.programs(counting, rates, ())
    assert [len(places) for places in found.values()] == [6, 6]
    assert sorted(itertools.chain(*found.values())) == list(range(12))
    swept = search.sweep(counting, rates, blobs(), epochs=2, batch_size=BATCH)
    assert [trial.configuration for trial in swept.trials] == rates
    assert {np.shape(trial.state.params["linear1"]["bias"]) for trial in swept.trials} == {
        (3,),
        (5,),
    }
    before = sum(traced)
    search.sweep(counting, rates, blobs(), epochs=2, batch_size=BATCH, at_once=6)
    assert sum(traced) == before  # nothing is compiled again


def test_batch_norm_and_plateau_follow_their_own_run(blobs):
    layer = nn.serial(nn.batch_norm(4), nn.linear(4, 3))
    objective = train.classification(layer)

    def build(h):
        plateau = optim.reduce_on_plateau(factor=0.5, patience=1)
        return layer, objective, optax.chain(optim.sgd(h["learning_rate"]), plateau)

    examples, validation = blobs(60), blobs(30, seed=2)
    configurations = space.grid(learning_rate=[1e-3, 0.3])
    swept = search.sweep(
        build, configurations, examples, epochs=4, batch_size=BATCH, validation=validation
    )
    for trial in swept.trials:
        expected = single(trial.configuration, examples, validation, epochs=4, build=build)
        assert_same(trial, *expected)


RATES = space.grid(learning_rate=[1e9, 1e-2, 1e30, 3e-2])
SQUARE = nn.linear(4, 4)
SQUARED_ERROR = train.regression(SQUARE)


def build_regression(h):
    return SQUARE, SQUARED_ERROR, optim.sgd(h["learning_rate"])


@pytest.fixture(scope="module")
def diverging():
    """Examples, where the first of RATES stops, and what `fit` makes of the second and fourth."""
    x = make_blobs(64)["x"]
    examples = {"x": x, "y": x}
    step = train.make_step(SQUARED_ERROR, optim.sgd(RATES[0]["learning_rate"]))
    state = train.train_state(SQUARE, step.optimizer)
    with pytest.raises(train.NonFiniteLossError) as caught:
        # A function has no gradient that the error would look at, leaf by leaf.
        list(train.fit(lambda *a: step(*a), state, examples, epochs=EPOCHS, batch_size=BATCH))
    runs = {k: single(RATES[k], examples, examples, build=build_regression) for k in (1, 3)}
    return examples, caught.value.step, runs


@pytest.mark.parametrize("at_once", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_that_diverges_stops_alone_and_ranks_last(at_once, diverging):
    examples, stop, runs = diverging
    swept = search.sweep(
        build_regression,
        RATES,
        examples,
        epochs=EPOCHS,
        batch_size=BATCH,
        validation=examples,
        at_once=at_once,
    )
    stopped = [trial.stopped for trial in swept.trials]
    assert stopped[1] is None
    assert stopped[3] is None
    assert stopped[0] == stop
    assert [trial.configuration["learning_rate"] for trial in swept.ranked[:2]] == [3e-2, 1e-2]
    for k, run in runs.items():
        assert_same(swept.trials[k], *run)
    assert math.isnan(swept.score(swept.trials[0]))
    assert np.isfinite(jax.tree.leaves(swept.trials[0].state.params)[0]).all()


def trial(loss, accuracy=0.5, stopped=None, epochs=1, **configuration):
    rows = [{"epoch": k + 1, "validation_loss": loss, "accuracy": accuracy} for k in range(epochs)]
    return search.Trial(configuration, rows, None, stopped)


def test_ranks_by_what_it_is_asked():
    trials = [
        trial(0.5, 0.9, a=0),
        trial(0.1, 0.2, a=1, stopped=7),
        trial(0.2, 0.8, a=2),
        trial(math.nan, math.nan, a=3),
        trial(0.7, 0.1, a=4, epochs=2),
    ]
    least = search.Sweep(trials, "validation_loss", "min")
    assert least.order == [4, 2, 0, 1, 3]
    assert [row["a"] for row in least.rows()] == least.order
    most = search.Sweep(trials[:3], "accuracy", "max")
    assert most.order == [0, 2, 1]
    assert most.best is trials[0]
    with pytest.raises(ValueError, match="no configuration has a finite accuracy"):
        _ = search.Sweep([trials[1], trials[3]], "accuracy", "max").best


def test_means_are_over_the_rest():
    trials = [
        trial(10 * width + rate + seed, width=width, rate=rate, seed=seed)
        for width in (2, 3)
        for rate in (0.1, 0.2)
        for seed in (0, 1)
        if (width, rate) != (3, 0.2)
    ]
    down, across, table = search.Sweep(trials, "validation_loss", "min").means("width", "rate")
    assert (down, across) == ([2, 3], [0.1, 0.2])
    np.testing.assert_allclose(table, [[20.6, 20.7], [30.6, math.nan]])


def test_prints_what_varies():
    from rich.console import Console

    trials = [trial(0.1 * k, learning_rate=k, momentum=0.5) for k in range(30)]
    console = Console(width=100)
    with console.capture() as printed:
        console.print(search.Sweep(trials, "validation_loss", "min"))
    assert "learning_rate" in printed.get()
    assert len(printed.get().splitlines()) < 30  # the 20 best
    assert "momentum" not in printed.get()


class TestSuccessiveHalving:
    @pytest.mark.parametrize("at_once", [1, pytest.param(None, marks=pytest.mark.slow)])
    def test_keeps_the_best_share_and_goes_on_from_their_states(self, blobs, at_once):
        examples, validation = blobs(64), blobs(32, seed=1)
        configurations = space.grid(learning_rate=[1e-4, 1e-3, 1e-2, 0.1, 0.3], seed=[1])
        options = {"batch_size": BATCH, "validation": validation, "at_once": at_once}
        halved = search.successive_halving(
            build_linear, configurations, examples, rungs=(1, 2, 4), **options
        )
        full = search.sweep(build_linear, configurations, examples, epochs=4, **options)
        lengths = [len(trial.history) for trial in halved.trials]
        assert sorted(lengths, reverse=True) == [4, 4, 2, 1, 1]  # 5, ⌈5/2⌉ = 3, ⌈3/2⌉ = 2
        for one, whole in zip(halved.trials, full.trials, strict=True):
            assert one.configuration == whole.configuration
            for row, same in zip(one.history, whole.history, strict=False):
                assert row["validation_loss"] == pytest.approx(same["validation_loss"], rel=1e-5)
        first = [trial.history[0]["validation_loss"] for trial in full.trials]
        assert {k for k in range(5) if lengths[k] > 1} == set(np.argsort(first)[:3].tolist())
        assert len(halved.best.history) == 4

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"rungs": (2, 2)}, "rising epochs"),
            ({"rungs": ()}, "rising epochs"),
            ({"rungs": (1, 2), "keep": 1.0}, "keep is 1.0"),
        ],
    )
    def test_refuses(self, options, message, blobs):
        with pytest.raises(ValueError, match=message):
            search.successive_halving(build, SPACE, blobs(), **options)


@pytest.mark.parametrize(
    "make",
    [
        lambda h: optim.adam(h, b1=0.5),
        lambda h: optim.adam(1e-2, b1=h),
        lambda h: optim.adamw(1e-2, weight_decay=h),
        lambda h: optim.rmsprop(1e-2, decay=h),
        lambda h: optim.nesterov(0.1, h),
        lambda h: optim.sgd(optim.cosine(h, 20)),
        lambda h: optim.sgd(optim.warmup_cosine(h, 20, warmup_steps=3)),
        lambda h: optax.chain(optim.clip_by_global_norm(h), optim.sgd(0.1)),
        lambda h: optax.chain(optim.sgd(0.1), optim.proximal(0.1, optim.l1(h))),
        lambda h: optax.chain(optim.add_penalty(optim.elastic_net(h)), optim.sgd(0.1)),
    ],
)
def test_every_number_of_an_optimizer_can_be_swept(make):
    params = {"kernel": np.float32([[1.0, -2.0], [0.01, 3.0]]), "bias": np.float32([0.5, -0.5])}

    def updated(number):
        optimizer = make(number)
        state, now = optimizer.init(params), params
        for _ in range(2):
            updates, state = optimizer.update(jax.tree.map(lambda x: x + 1, now), state, now)
            now = optax.apply_updates(now, updates)
        return now

    numbers = [0.05, 0.3]
    swept, alone = jax.jit(
        lambda traced: (jax.vmap(updated)(traced), [updated(number) for number in numbers])
    )(np.float32(numbers))
    for k in range(2):
        for name in params:
            np.testing.assert_allclose(swept[name][k], alone[k][name], rtol=1e-5, atol=1e-6)
    assert not np.allclose(swept["kernel"][0], swept["kernel"][1])


@pytest.mark.parametrize(
    "make",
    [
        nn.dropout,
        nn.gaussian_noise,
        nn.stochastic_depth,
        lambda rate: nn.dropconnect(4, 4, rate),
        lambda rate: models.mlp(4, (4,), 4, dropout=rate),
    ],
)
def test_every_rate_of_a_layer_can_be_swept(make):
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    params, state = make(0.5).init(jax.random.key(0))

    def applied(rate):
        return make(rate).apply(params, state, x, key=jax.random.key(1), train=True)[0]

    rates = [0.0, 0.4]
    swept, alone = jax.jit(
        lambda traced: (jax.vmap(applied)(traced), [applied(rate) for rate in rates])
    )(np.float32(rates))
    np.testing.assert_allclose(swept, alone, rtol=1e-5, atol=1e-6)
    assert not np.allclose(swept[0], swept[1])


def test_data_on_the_host_goes_one_by_one(blobs):
    rates = space.grid(learning_rate=[0.1, 0.2])
    host = search.sweep(build_linear, rates, data.HostData(blobs()), epochs=1, batch_size=BATCH)
    device = search.sweep(build_linear, rates, blobs(), epochs=1, batch_size=BATCH)
    for one, other in zip(host.trials, device.trials, strict=True):
        assert one.history[-1] == pytest.approx(other.history[-1], rel=1e-5)


def test_small_networks_pay_together_and_large_ones_do_not(blobs):
    def pays(width, convolves=False):
        first = nn.conv(1, 2, 3) if convolves else nn.flatten
        layer = nn.serial(first, nn.flatten, nn.linear(72 if convolves else 64, width))
        parts = layer, train.classification(layer), optim.sgd(0.1)
        step = together.SharedStep(lambda h: parts, (), ())
        x = jax.ShapeDtypeStruct((32, 8, 8, 1), np.float32)
        return together.pays(step, {}, {"x": x, "y": jax.ShapeDtypeStruct((32,), np.int32)})

    assert pays(10)
    assert not pays(10_000)
    assert not pays(10, convolves=True)


class TestSpace:
    def test_a_grid_is_the_product(self):
        points = space.grid(a=np.logspace(-1, 1, 3), b=np.arange(2), c=["x"])
        assert len(points) == 6
        assert points[1] == {"a": pytest.approx(0.1), "b": 1, "c": "x"}
        assert [type(value) for value in points[0].values()] == [float, int, str]
        assert space.grid() == [{}]

    def test_draws_are_from_their_distributions(self):
        points = space.random(
            4000,
            rate=space.log_uniform(1e-4, 1),
            dropout=space.uniform(0, 0.5),
            width=space.choice(8, 16),
        )
        logs = np.log10([point["rate"] for point in points])
        assert np.histogram(logs, 4, (-4, 0))[0] == pytest.approx([1000] * 4, rel=0.15)
        dropout = np.array([point["dropout"] for point in points])
        assert dropout.mean() == pytest.approx(0.25, abs=0.01)
        assert np.mean([point["width"] == 8 for point in points]) == pytest.approx(0.5, abs=0.04)
        assert abs(np.corrcoef(logs, dropout)[0, 1]) < 0.06

    def test_one_more_name_or_draw_changes_no_other(self):
        few = space.random(3, 5, rate=space.uniform(0, 1))
        many = space.random(9, 5, width=space.choice(1, 2), rate=space.uniform(0, 1))
        assert [point["rate"] for point in few] == [point["rate"] for point in many[:3]]
        assert few != space.random(3, 6, rate=space.uniform(0, 1))

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda: space.grid(rate=[]), ValueError, "rate has no values"),
            (lambda: space.random(0), ValueError, "n is 0"),
            (lambda: space.random(2, rate=0.1), TypeError, r"rate=space.choice\(0.1\)"),
            (lambda: space.uniform(1, 0), ValueError, "low < high"),
            (lambda: space.log_uniform(0, 1), ValueError, "0 < low < high"),
            (lambda: space.choice(), ValueError, "no values"),
        ],
    )
    def test_refuses(self, make, error, message):
        with pytest.raises(error, match=message):
            make()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"space": []}, ValueError, "the space is empty"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"at_once": 0}, ValueError, "at_once must be at least 1"),
        ({"mode": "best"}, ValueError, "mode is"),
        ({"monitor": "f1"}, ValueError, "no number is called 'f1'"),
        ({"space": [{"hidden": [8, 8]}]}, TypeError, r"hidden=\(8, 8\)"),
        ({"space": [{"learning_rate": -0.1}]}, ValueError, "learning_rate must be finite"),
        ({"space": [{"dropout": 0.2}, {"dropout": 1.0}]}, ValueError, "dropout: rate is 1.0"),
        ({"batch_size": 1000}, ValueError, "batch_size=1000"),
    ],
)
def test_refuses(changes, error, message, blobs):
    arguments = {"space": SPACE[:1], "epochs": 1, "batch_size": BATCH} | changes
    configurations = arguments.pop("space")
    with pytest.raises(error, match=message):
        search.sweep(build, configurations, blobs(), **arguments)


def test_says_what_to_do_where_build_looks_at_a_float(blobs):
    def looks(h):
        layer = nn.linear(4, 3) if h["rate"] > 0.1 else nn.linear(4, 3, bias=False)
        return layer, train.classification(layer), optim.sgd(h["rate"])

    rates = space.grid(rate=[0.05, 0.2])
    with pytest.raises(jax.errors.TracerBoolConversionError) as caught:
        search.sweep(looks, rates, blobs(), epochs=1, batch_size=BATCH)
    assert any('groups=("NAME",)' in note for note in caught.value.__notes__)
    swept = search.sweep(looks, rates, blobs(), epochs=1, batch_size=BATCH, groups=("rate",))
    assert ["bias" in trial.state.params for trial in swept.trials] == [False, True]
