from __future__ import annotations

import csv
import importlib
import json
import os
import signal

import jax
import numpy as np
import pytest

from dlcore import optim, train
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


def test_resuming_with_another_network_names_the_leaf(problem, blobs, network, tmp_path):
    from dlcore import nn

    step, state = problem()
    train.run(step, state, blobs(), out=tmp_path, **ARGUMENTS)
    step, state = problem(layer=nn.serial(nn.linear(4, 16), nn.linear(16, 3)))
    with pytest.raises(ValueError, match=r"linear2/kernel|batch_norm1"):
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
    with pytest.raises(ValueError, match="loss, accuracy"):
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

    before = signal.getsignal(number)
    with pytest.raises(train.Interrupted, match="step 24") as caught:
        train.run(step, state, blobs(), validation=validation, out=tmp_path, **arguments)
    assert (caught.value.step, caught.value.out) == (24, tmp_path)
    assert signal.getsignal(number) is before
    assert checkpoint.steps(tmp_path / "checkpoints") == [24]
    resumed = train.run(step, state, blobs(), out=tmp_path, resume=True, **arguments)
    assert_same_bits(whole.state.params, resumed.state.params)


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
