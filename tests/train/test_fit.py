from __future__ import annotations

import functools
import importlib
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore import data as datasets
from dlcore import device, keys, nn, optim, train
from dlcore.data import batching
from dlcore.train.state import position
from tests.problems import make_blobs, make_problem


@pytest.fixture(params=["loop", "loops of 3", "calls"])
def plan(request, monkeypatch):
    """The plans of running the same step on the device."""
    at_once = {"loop": 99, "loops of 3": 3, "calls": 1}[request.param]
    monkeypatch.setattr(device, "steps_in_one_call", lambda *_: at_once)
    if at_once == 3:
        plans = importlib.import_module("dlcore.train.plans")
        monkeypatch.setattr(plans, "_INDICES", 1)  # a table of batches is an epoch's
    return request.param


@pytest.fixture
def whole(plan):
    """The end of the run that several tests repeat in parts, once for each plan."""
    return WHOLE(plan)


WHOLE = functools.cache(
    lambda plan: end_state(*make_problem(), make_blobs(), epochs=3, batch_size=16)
)


def last(records):
    *_, record = records
    return record


def end_state(*arguments, **options):
    return last(train.fit(*arguments, **options)).state


def by_hand(step, state, data, *, epochs, batch_size):
    """The plain form: a Python loop over index batches."""
    for epoch in range(epochs):
        for rows in batching.batches(len(data["x"]), batch_size, int(state.seed), epoch):
            state, _ = jax.jit(step)(state, {name: leaf[rows] for name, leaf in data.items()})
    return state


LINEAR = nn.linear(4, 3)  # where any layer would do


def assert_same_bits(one, other):
    chex.assert_trees_all_equal_structs(one, other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_fit_is_the_python_loop(whole, problem, blobs):
    step, state = problem()
    data = blobs()
    plain = by_hand(step, state, data, epochs=3, batch_size=16)
    chex.assert_trees_all_close(whole, plain, rtol=2e-4, atol=2e-5)
    assert int(whole.step) == 3 * 6


@pytest.mark.parametrize("every", [1, 2, 4, 5, 6, 7, 100])
def test_when_records_come_changes_no_bit(whole, problem, blobs, every):
    step, state = problem()
    parts = end_state(step, state, blobs(), epochs=3, batch_size=16, every=every)
    assert_same_bits(whole, parts)


def test_one_trace_for_a_whole_fit(plan, problem, blobs):
    step, state = problem(layer=LINEAR)
    chex.clear_trace_counter()
    objective = chex.assert_max_traces(step.objective, n=1)
    counted = train.Step(objective, step.optimizer)
    assert last(train.fit(counted, state, blobs(100), epochs=4, batch_size=16, every=4)).step == 24


def test_records_say_where_the_run_is(plan, problem, blobs):
    step, state = problem()
    records = list(train.fit(step, state, blobs(96), epochs=2, batch_size=16, every=4))
    assert [(r.step, r.epoch, r.ends_epoch) for r in records] == [
        (4, 1, False),
        (6, 1, True),
        (8, 2, False),
        (12, 2, True),
    ]


def test_records_may_span_whole_epochs(plan, problem, blobs):
    step, state = problem()
    records = list(train.fit(step, state, blobs(96), epochs=5, batch_size=16, every=14))
    assert [(r.step, r.epoch, r.ends_epoch) for r in records] == [
        (18, 3, True),
        (30, 5, True),
    ]


def test_an_epoch_is_the_number_of_whole_batches(problem, blobs):
    step, state = problem(layer=LINEAR)
    assert last(train.fit(step, state, blobs(100), epochs=2, batch_size=32)).step == 2 * (100 // 32)


STILL = optim.sgd(0.0)  # nothing moves, so the mean over an epoch is known


def test_metrics_are_means_over_the_epoch_so_far(plan, problem, blobs):
    step, state = problem(layer=LINEAR, optimizer=STILL)
    data = blobs(96)
    expected = train.evaluate(step.objective, state.params, state.state, data)
    for record in train.fit(step, state, data, epochs=2, batch_size=16, every=6):
        assert record.metrics["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert record.metrics["accuracy"] == pytest.approx(expected["accuracy"])


def test_the_state_given_is_left_untouched_and_records_copy(plan, problem, blobs):
    step, state = problem()
    before = jax.tree.map(np.array, state)
    states = [r.state for r in train.fit(step, state, blobs(), epochs=3, batch_size=16)]
    assert_same_bits(before, state)
    assert [int(one.step) for one in states] == [6, 12, 18]
    assert not np.array_equal(
        states[0].params["linear1"]["kernel"], states[2].params["linear1"]["kernel"]
    )


def test_a_run_that_has_ended_or_was_left_hands_over_its_own_state(plan, problem, blobs):
    """Without a copy, which on the way is needed: the next step takes its memory."""
    step, state = problem()
    records = train.fit(step, state, blobs(), epochs=3, batch_size=16)
    middle = next(records)
    kept = middle.state
    assert kept.params is not middle.state.params
    end = last(records)
    assert end.state is end.state
    left = next(train.fit(step, state, blobs(), epochs=3, batch_size=16))
    assert left.state is left.state
    assert_same_bits(left.state, kept)
    for _ in range(2):  # and to go on from it leaves it whole
        rest = end_state(step, left.state, blobs(), epochs=3, batch_size=16)
        assert_same_bits(rest, end.state)


def test_the_state_of_an_earlier_record_is_refused(problem, blobs):
    step, state = problem()
    records = list(train.fit(step, state, blobs(), epochs=2, batch_size=16))
    assert records[0].metrics["loss"] > 0  # numbers stay readable
    assert int(records[-1].state.step) == 12  # and so does the end
    with pytest.raises(RuntimeError, match="inside the loop"):
        _ = records[0].state


@pytest.mark.parametrize("stop", [1, 6, 11])
def test_going_on_from_any_state_gives_the_same_bits(whole, problem, blobs, stop):
    step, state = problem()
    records = train.fit(step, state, blobs(), epochs=3, batch_size=16, every=1)
    middle = next(record for record in records if record.step == stop)
    rest = end_state(step, middle.state, blobs(), epochs=3, batch_size=16, totals=middle.totals)
    assert_same_bits(whole, rest)


def test_going_on_past_the_end_does_nothing(problem, blobs):
    step, state = problem()
    state = end_state(step, state, blobs(), epochs=2, batch_size=16)
    assert list(train.fit(step, state, blobs(), epochs=2, batch_size=16)) == []


def test_data_on_the_host_gives_what_data_on_the_device_does(plan, whole, problem, blobs):
    """In calls the same bits; a loop, which is compiled as one program, may round otherwise."""
    step, state = problem()
    on_host = end_state(step, state, datasets.HostData(blobs()), epochs=3, batch_size=16, every=4)
    chex.assert_trees_all_close(whole, on_host, rtol=2e-5, atol=2e-6)
    if plan == "calls":
        assert_same_bits(whole, on_host)


def test_another_seed_gives_another_run(problem, blobs):
    ends = [end_state(*problem(seed=seed), blobs(), epochs=1, batch_size=16) for seed in (0, 1)]
    assert not np.array_equal(*[np.asarray(one.params["linear1"]["kernel"]) for one in ends])


def test_dropout_masks_differ_between_steps(blobs):
    seen = []
    layer = nn.dropout(0.5)

    def objective(params, state, batch, *, key=None, train=False):
        y, _ = layer.apply((), (), jnp.ones((1, 64)), key=key, train=train)
        jax.debug.callback(lambda mask: seen.append(tuple(mask.ravel().tolist())), y)
        return jnp.sum(params["w"]), (state, {})

    holder = nn.layer.make("w", lambda key: ({"w": jnp.zeros(())}, ()), None)
    state = train.train_state(holder, optim.sgd(0.1))
    list(
        train.fit(
            train.make_step(objective, optim.sgd(0.1)), state, blobs(), epochs=1, batch_size=16
        )
    )
    jax.effects_barrier()
    assert len(set(seen)) == 6


def test_validation_is_measured_at_each_epochs_end_and_told_to_the_optimizer(plan, problem, blobs):
    step, state = problem()
    held_out = blobs(50, seed=1)
    for record in train.fit(
        step, state, blobs(), epochs=2, batch_size=16, every=4, validation=held_out
    ):
        assert (record.validation is not None) == record.ends_epoch
        if record.ends_epoch:
            now = record.state
            measured = train.evaluate(step.objective, now.params, now.state, held_out)
            assert record.validation["loss"] == pytest.approx(measured["loss"], rel=1e-5)
            assert float(now.validation) == pytest.approx(measured["loss"], rel=1e-5)


def test_extra_arguments_reach_an_optax_line_search(blobs):
    """optax's backtracking line search needs value, grad and value_fn from the step."""
    with jax.numpy_dtype_promotion("standard"):
        layer = nn.linear(4, 3)
        optimizer = optax.chain(
            optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=20)
        )
        step = train.make_step(train.classification(layer), optimizer)
        state = train.train_state(layer, optimizer)
        data = blobs(96)
        losses = [r.metrics["loss"] for r in train.fit(step, state, data, epochs=15, batch_size=96)]
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(losses))
    assert losses[-1] < 0.5 * losses[0]


def test_a_linear_regression_reaches_the_closed_form(plan):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 3)).astype(np.float32)
    y = (x @ [[1.0], [-2.0], [0.5]] + 0.3 + 0.1 * generator.normal(size=(200, 1))).astype(
        np.float32
    )
    layer = nn.linear(3, 1)
    step = train.make_step(train.regression(layer), optim.sgd(0.1))
    state = end_state(
        step, train.train_state(layer, optim.sgd(0.1)), {"x": x, "y": y}, epochs=300, batch_size=200
    )
    design = np.concatenate([x, np.ones((200, 1))], axis=1)
    exact = np.linalg.lstsq(design, y, rcond=None)[0]
    found = np.concatenate([state.params["kernel"], state.params["bias"][None]])
    np.testing.assert_allclose(found, exact, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs=0: give a whole number at least 1"),
        ({"epochs": 1, "every": 0}, "every=0: give a whole number"),
        ({"epochs": 1, "batch_size": 97}, "97"),
        ({"epochs": 1, "batch_size": 0}, "batch_size"),
    ],
)
def test_bad_arguments_are_refused(problem, blobs, options, message):
    step, state = problem()
    with pytest.raises(ValueError, match=message):
        train.fit(step, state, blobs(96), **options)


def test_data_of_unequal_lengths_is_refused(problem, blobs):
    step, state = problem()
    data = blobs()
    with pytest.raises(ValueError, match="one and the same leading length"):
        train.fit(step, state, {"x": data["x"], "y": data["y"][:-1]}, epochs=1)


def test_the_key_of_a_step_is_a_function_of_seed_and_step(problem, blobs):
    """Written out once more here, so that a change of the rule cannot pass unseen."""
    step, state = problem(seed=5)
    data = {name: leaf[:16] for name, leaf in blobs().items()}

    @jax.jit
    def losses(state):
        key = jax.random.fold_in(keys.stream(5, "step"), 0)
        loss, _ = step.objective(state.params, state.state, data, key=key, train=True)
        (inside, _), _ = step.gradients(state, data)
        return loss, inside

    loss, inside = losses(state)
    assert float(loss) == pytest.approx(float(inside), rel=1e-6)
    assert int(position(state)) == 0


def test_a_seed_may_be_any_of_32_bits(plan, problem, blobs):
    """Each gives the Python loop's run, validation too, and a run of its own."""
    kernels = set()
    for seed in (0, 2**31, 2**32 - 1):
        step, state = problem(seed=seed)
        record = last(
            train.fit(step, state, blobs(), epochs=1, batch_size=16, validation=blobs(20))
        )
        end = by_hand(step, state, blobs(), epochs=1, batch_size=16)
        chex.assert_trees_all_close(record.state.params, end.params, rtol=2e-4, atol=2e-5)
        measured = train.evaluate(step.objective, end.params, end.state, blobs(20), seed=seed)
        assert record.validation["loss"] == pytest.approx(measured["loss"], rel=2e-4)
        kernels.add(np.asarray(end.params["linear1"]["kernel"]).tobytes())
    assert len(kernels) == 3


def test_a_function_that_validates_gets_a_state_to_keep(plan, problem, blobs):
    kept = []

    def validation(state):
        kept.append(state)
        return {"loss": 1.0}

    step, state = problem()
    list(train.fit(step, state, blobs(), epochs=3, batch_size=16, validation=validation))
    assert [int(one.step) for one in kept] == [6, 12, 18]


def test_validation_without_an_objective_is_refused(problem, blobs):
    step, state = problem()
    with pytest.raises(TypeError, match="function of its state"):
        train.fit(lambda s, b: step(s, b), state, blobs(), epochs=1, validation=blobs())
