from __future__ import annotations

import csv
import importlib
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import data as datasets
from dlcore import device, optim, train
from dlcore.train import checkpoint

run_module = importlib.import_module("dlcore.train.run")  # the function of that name hides it


def assert_same_bits(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def columns(rows, leave_out=("seconds",)):
    return [{name: row[name] for name in row if name not in leave_out} for row in rows]


class Crash(Exception):
    """A stand-in for a kill: it leaves the run wherever it is."""


@pytest.fixture
def crash_after(monkeypatch):
    """Lets the run die right after so many records."""

    def arm(records):
        real = run_module.fit

        def dying(*arguments, **options):
            for count, record in enumerate(real(*arguments, **options)):
                if count == records:
                    raise Crash
                yield record

        monkeypatch.setattr(run_module, "fit", dying)

    return arm


ARGUMENTS = {"epochs": 3, "batch_size": 8, "visible": False, "checkpoint_seconds": 0.0}


def test_run_is_fit_with_things_around_it(problem, blobs, tmp_path):
    step, state = problem()
    result = train.run(
        step, state, blobs(), validation=blobs(40, seed=1), out=tmp_path, **ARGUMENTS
    )
    for record in train.fit(
        step, state, blobs(), epochs=3, batch_size=8, validation=blobs(40, seed=1)
    ):
        end = record.state
    assert_same_bits(result.state, end)
    assert result.reason == "complete"
    assert [row["epoch"] for row in result.history] == [1, 2, 3]


def test_the_log_has_a_row_an_epoch_in_both_forms(problem, blobs, tmp_path):
    step, state = problem()
    result = train.run(
        step, state, blobs(), validation=blobs(40, seed=1), out=tmp_path, **ARGUMENTS
    )
    with (tmp_path / "metrics.csv").open() as file:
        from_csv = list(csv.DictReader(file))
    from_jsonl = [
        json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]
    assert from_jsonl == result.history
    assert [float(row["validation_loss"]) for row in from_csv] == [
        row["validation_loss"] for row in result.history
    ]


@pytest.mark.parametrize("records", [0, 1, 2])
def test_a_crash_after_any_record_and_a_resume_end_in_the_same_bits(
    problem, blobs, tmp_path, crash_after, records, monkeypatch
):
    step, state = problem()
    arguments = {"validation": blobs(40, seed=1), **ARGUMENTS}
    whole = train.run(step, state, blobs(), **arguments)
    with monkeypatch.context() as patch:
        crash_after(records)
        with pytest.raises(Crash):
            train.run(step, state, blobs(), out=tmp_path, **arguments)
        patch.undo()
    monkeypatch.undo()
    resumed = train.run(step, state, blobs(), out=tmp_path, resume=True, **arguments)
    assert_same_bits(whole.state, resumed.state)
    assert_same_bits(whole.best, resumed.best)
    assert columns(whole.history) == columns(resumed.history)


def test_a_crash_inside_an_epoch_resumes_with_the_same_log(
    problem, blobs, tmp_path, crash_after, monkeypatch
):
    monkeypatch.setattr(run_module, "_every", lambda per_epoch: 5)
    step, state = problem()
    arguments = {"validation": blobs(40, seed=1), **ARGUMENTS}
    whole = train.run(step, state, blobs(), **arguments)
    crash_after(4)
    with pytest.raises(Crash):
        train.run(step, state, blobs(), out=tmp_path, **arguments)
    monkeypatch.undo()
    monkeypatch.setattr(run_module, "_every", lambda per_epoch: 5)
    resumed = train.run(step, state, blobs(), out=tmp_path, resume=True, **arguments)
    assert_same_bits(whole.state, resumed.state)
    assert columns(whole.history) == columns(resumed.history)


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(problem, blobs, tmp_path):
    step, state = problem()
    arguments = {"validation": blobs(40, seed=1), **ARGUMENTS}
    whole = train.run(step, state, blobs(), out=tmp_path, **arguments)
    newest = sorted((tmp_path / "checkpoints").glob("step-*"))[-1]
    victim = newest / "state.safetensors"
    raw = bytearray(victim.read_bytes())
    raw[len(raw) // 2] ^= 1
    victim.write_bytes(raw)
    with pytest.warns(train.CheckpointWarning, match=newest.name):
        resumed = train.run(step, state, blobs(), out=tmp_path, resume=True, **arguments)
    assert_same_bits(whole.state, resumed.state)


def test_resuming_a_complete_run_does_nothing(problem, blobs, tmp_path):
    step, state = problem()
    whole = train.run(step, state, blobs(), out=tmp_path, **ARGUMENTS)
    again = train.run(step, state, blobs(), out=tmp_path, resume=True, **ARGUMENTS)
    assert_same_bits(whole.state, again.state)
    assert whole.history == again.history


def test_resume_in_an_empty_folder_starts_a_run(problem, blobs, tmp_path):
    step, state = problem()
    result = train.run(step, state, blobs(), out=tmp_path / "new", resume=True, **ARGUMENTS)
    assert int(result.state.step) == 36


def test_a_run_is_never_written_over(problem, blobs, tmp_path):
    step, state = problem()
    train.run(step, state, blobs(), out=tmp_path, **ARGUMENTS)
    with pytest.raises(FileExistsError, match="--resume"):
        train.run(step, state, blobs(), out=tmp_path, **ARGUMENTS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 16}, "batch_size=8"),
        ({"facts": {"model": "mlp"}}, "model=None, this run has mlp"),
    ],
)
def test_resuming_with_other_arguments_is_refused(problem, blobs, tmp_path, changed, message):
    step, state = problem()
    train.run(step, state, blobs(), out=tmp_path, **ARGUMENTS)
    with pytest.raises(ValueError, match=message):
        train.run(step, state, blobs(), out=tmp_path, resume=True, **{**ARGUMENTS, **changed})


def test_resuming_with_another_network_is_refused(problem, blobs, network, tmp_path):
    from dlcore import nn

    step, state = problem()
    train.run(step, state, blobs(), out=tmp_path, **ARGUMENTS)
    step, state = problem(layer=nn.serial(nn.linear(4, 16), nn.linear(16, 3)))
    with pytest.raises(ValueError, match="by another step"):
        train.run(step, state, blobs(), out=tmp_path, resume=True, **ARGUMENTS)


def test_early_stopping_and_best_weights(problem, blobs, tmp_path):
    optimizer = optim.adam(0.3)  # too large on purpose: the validation loss goes up and down
    step, state = problem(optimizer=optimizer)
    held_out = blobs(60, seed=1)
    result = train.run(
        step,
        state,
        blobs(48),
        validation=held_out,
        stopping=train.EarlyStopping(patience=3),
        **{**ARGUMENTS, "epochs": 60},
    )
    losses = [row["validation_loss"] for row in result.history]
    assert result.reason == "early stopping"
    assert len(losses) == int(np.argmin(losses)) + 1 + 3
    measured = train.evaluate(step.objective, result.best.params, result.best.state, held_out)
    assert measured["loss"] == pytest.approx(min(losses), rel=1e-5)


def test_an_early_stopped_run_stays_stopped_when_resumed(problem, blobs, tmp_path):
    step, state = problem(optimizer=optim.adam(0.3))
    arguments = {
        "validation": blobs(60, seed=1),
        "stopping": train.EarlyStopping(patience=2),
        **ARGUMENTS,
        "epochs": 60,
    }
    first = train.run(step, state, blobs(48), out=tmp_path, **arguments)
    again = train.run(step, state, blobs(48), out=tmp_path, resume=True, **arguments)
    assert first.history == again.history
    assert_same_bits(first.best, again.best)


def test_monitoring_what_is_not_measured_is_refused(problem, blobs):
    step, state = problem()
    stopping = train.EarlyStopping(monitor="auc")
    with pytest.raises(ValueError, match=r"no validation score is called 'auc'.*: accuracy, loss"):
        train.run(step, state, blobs(), validation=blobs(), stopping=stopping, **ARGUMENTS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_a_resume_ends_in_the_same_bits(problem, blobs, tmp_path, number):
    step, state = problem()
    arguments = {**ARGUMENTS, "epochs": 4, "checkpoint_seconds": 1e9}
    whole = train.run(step, state, blobs(), **arguments)

    def validation(state):
        if int(state.step) == 24:
            os.kill(os.getpid(), number)
        return {"loss": 1.0 / float(state.step)}

    before = signal.signal(number, signal.default_int_handler)  # whatever the parent ignores
    try:
        with pytest.raises(train.Interrupted, match="step 24") as caught:
            train.run(step, state, blobs(), validation=validation, out=tmp_path, **arguments)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert (caught.value.step, caught.value.out) == (24, tmp_path)
    assert checkpoint.steps(tmp_path / "checkpoints") == [24]
    arguments |= {"validation": lambda state: {"loss": 1.0}, "resume": True}
    resumed = train.run(step, state, blobs(), out=tmp_path, **arguments)
    assert_same_bits(whole.state.params, resumed.state.params)


def test_a_signal_that_is_ignored_stays_ignored(problem, blobs):
    def validation(state):
        os.kill(os.getpid(), signal.SIGINT)
        return {"loss": 1.0}

    step, state = problem()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = train.run(step, state, blobs(), validation=validation, **ARGUMENTS)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.reason == "complete"


@pytest.mark.parametrize(("at_once", "form"), [(1, dict), (4, dict), (1, datasets.HostData)])
def test_a_signal_stops_within_an_epoch(problem, blobs, tmp_path, monkeypatch, at_once, form):
    monkeypatch.setattr(device, "steps_in_one_call", lambda *_: at_once)
    step, state = problem()
    data = form(blobs(96))
    whole = train.run(step, state, data, **ARGUMENTS).state
    plans = importlib.import_module("dlcore.train.plans")
    table = plans.Run.table

    def interrupted(self, at):
        if at == 4:
            monkeypatch.setattr(plans.Run, "table", table)
            os.kill(os.getpid(), signal.SIGTERM)
        return table(self, at)

    monkeypatch.setattr(plans.Run, "table", interrupted)
    with pytest.raises(train.Interrupted) as caught:
        train.run(step, state, data, out=tmp_path, **ARGUMENTS)
    assert 0 < caught.value.step <= 8  # the host reads ahead
    resumed = train.run(step, state, data, out=tmp_path, resume=True, **ARGUMENTS).state
    assert_same_bits(resumed.params, whole.params)


CHANGES = {
    "seed": ({"state": lambda one: one._replace(seed=jnp.uint32(3))}, r"with seed=\[0\], this"),
    "rate": ({"optimizer": optim.adam(2e-2)}, "by another step"),
    "data": ({"data": lambda one: {**one, "x": one["x"] + 1}}, "on other data of the same shape"),
    "validation": ({"validation": None}, "with validation=.*this run has none"),
    "monitor": ({"stopping": train.EarlyStopping(monitor="accuracy")}, "with monitor=loss, this"),
    "mode": ({"stopping": train.EarlyStopping(mode="max")}, "with mode=min, this run has max"),
    "batch_size": ({"batch_size": 16}, "with batch_size=8, this run has 16"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_resumed_run_is_the_same_run(problem, blobs, tmp_path, name):
    change, message = CHANGES[name]
    step, state = problem()
    data = blobs()
    how = {**ARGUMENTS, "validation": blobs(seed=1)}
    train.run(step, state, data, out=tmp_path, **how)
    change = dict(change)
    if "optimizer" in change:
        step, state = problem(optimizer=change.pop("optimizer"))
    state = change.pop("state", lambda one: one)(state)
    data = change.pop("data", lambda one: one)(data)
    with pytest.raises(ValueError, match=f"was made {message}"):
        train.run(step, state, data, out=tmp_path, resume=True, **{**how, **change})


def test_a_run_that_ended_early_goes_on_with_more_patience(problem, blobs, tmp_path):
    step, state = problem()
    how = {**ARGUMENTS, "epochs": 6, "out": tmp_path, "validation": lambda state: {"loss": 1.0}}
    short = train.run(step, state, blobs(), stopping=train.EarlyStopping(patience=1), **how)
    assert (short.reason, len(short.history)) == ("early stopping", 2)
    again = train.run(
        step, state, blobs(), stopping=train.EarlyStopping(patience=1), resume=True, **how
    )
    assert (again.reason, len(again.history)) == ("early stopping", 2)
    longer = train.run(
        step, state, blobs(), stopping=train.EarlyStopping(patience=3), resume=True, **how
    )
    assert (longer.reason, len(longer.history)) == ("early stopping", 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation": {"x": np.ones((0, 4), np.float32), "y": np.ones(0, np.int32)}}, "no exa"),
        ({"validation": {"x": np.ones((4, 4), np.float32)}}, "y"),
        ({"stopping": train.EarlyStopping(monitor="acuracy")}, "did you mean 'accuracy'"),
        ({"stopping": train.EarlyStopping(patience=2), "validation": None}, "needs validation"),
        ({"epochs": 1.5}, "takes an integer as epochs, got 1.5"),
        ({"epochs": float("nan")}, "takes an integer as epochs, got nan"),
    ],
)
def test_what_can_be_known_is_refused_before_the_first_step(problem, blobs, change, message):
    class Untouched:
        def __len__(self):
            return 96

        def gather(self, rows):
            assert len(rows) == 1  # its shape alone
            return {name: leaf[rows] for name, leaf in blobs(96).items()}

    step, state = problem()
    how = {**ARGUMENTS, "validation": blobs()} | change
    with pytest.raises((ValueError, TypeError, KeyError), match=message):
        train.run(step, state, datasets.HostData(Untouched()), **how)


def test_without_a_terminal_there_is_a_line_an_epoch(problem, blobs, capsys):
    step, state = problem()
    train.run(step, state, blobs(), **{**ARGUMENTS, "visible": True})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("loss" in line and "accuracy" in line for line in lines)


def test_scores_that_are_never_numbers_leave_the_last_state_as_the_best(problem, blobs, tmp_path):
    step, state = problem()
    result = train.run(
        step,
        state,
        blobs(),
        validation=lambda s: {"loss": np.float32("nan")},
        out=tmp_path,
        **ARGUMENTS,
    )
    assert_same_bits(result.best, result.state)
    again = train.run(
        step,
        state,
        blobs(),
        validation=lambda s: {"loss": 0.0},
        out=tmp_path,
        resume=True,
        **ARGUMENTS,
    )
    assert_same_bits(again.best, result.state)


def test_patience_without_validation_is_refused(problem, blobs):
    step, state = problem()
    with pytest.raises(ValueError, match="needs validation"):
        train.run(step, state, blobs(), stopping=train.EarlyStopping(patience=2), **ARGUMENTS)


def test_facts_that_no_file_can_hold_are_refused_at_once(problem, blobs, tmp_path):
    step, state = problem()
    with pytest.raises(ValueError, match="JSON"):
        train.run(step, state, blobs(), facts={"hidden": (3, 4)}, out=tmp_path, **ARGUMENTS)
    assert not list(tmp_path.iterdir())


def test_a_callback_sees_every_record_and_costs_no_run_where_it_fails(problem, blobs, tmp_path):
    step, state = problem()
    seen = []
    how = {**ARGUMENTS, "validation": blobs(40, seed=1)}
    whole = train.run(step, state, blobs(), callback=seen.append, **how)
    assert [record.epoch for record in seen if record.ends_epoch] == [1, 2, 3]
    assert [record.metrics["loss"] for record in seen if record.ends_epoch] == [
        row["loss"] for row in whole.history
    ]

    def fails(record):
        if record.epoch == 2:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        train.run(step, state, blobs(), callback=fails, out=tmp_path, **how)
    assert max(checkpoint.steps(tmp_path / "checkpoints")) == seen[1].step
    resumed = train.run(step, state, blobs(), out=tmp_path, resume=True, **how)
    assert_same_bits(whole.state, resumed.state)


def test_tensorboard_reads_the_numbers_of_a_run(problem, blobs, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    step, state = problem()
    with train.tensorboard(tmp_path) as write:
        how = {**ARGUMENTS, "validation": blobs(40, seed=1)}
        history = train.run(step, state, blobs(), callback=write, **how).history
    for part, prefix in (("training", ""), ("validation", "validation_")):
        events = EventAccumulator(str(tmp_path / part))
        events.Reload()
        for name in ("loss", "accuracy"):
            read = {
                one.step: float(tensor_util.make_ndarray(one.tensor_proto))
                for one in events.Tensors(name)
            }
            wanted = {row["step"]: row[prefix + name] for row in history}
            assert {at: read[at] for at in wanted} == pytest.approx(wanted)
