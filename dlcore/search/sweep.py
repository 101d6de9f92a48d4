"""Sweeps: many configurations trained at once, and compared ("graduate student descent")."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.batching import HostData
from dlcore.fields import documented
from dlcore.search import together
from dlcore.search.together import Build, Configuration, Member, SharedStep
from dlcore.train.fit import fit
from dlcore.train.guard import NonFiniteLossError
from dlcore.train.objective import Batch
from dlcore.train.plans import batch_like

_SHOWN = 20  # rows of a printed sweep


@documented
class Trial(NamedTuple):
    """One configuration and what became of it.

    configuration: its settings by name.
    history: a dict of plain numbers for each epoch, as `run` gives it: "epoch", "step", the metrics
        of training and, as "validation_…", of validation.
    state: the last TrainState, in NumPy arrays.
    stopped: the update that could not be made because the loss was not finite, or None.
    """

    configuration: Configuration
    history: list[dict[str, Any]]
    state: Any
    stopped: int | None = None


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The trials of a search, and by what they rank.

    trials: a Trial for each configuration, in the order of the space.
    monitor: the number of their last epoch by which they rank.
    mode: "min" or "max", which of its values is best.
    """

    trials: list[Trial]
    monitor: str
    mode: str

    @property
    def best(self) -> Trial:
        """The trial that ranks first; ValueError where none has a finite score."""
        first = self.ranked[0]
        if not math.isfinite(self.score(first)):
            raise ValueError(f"no configuration has a finite {self.monitor}: lower the rates")
        return first

    @property
    def order(self) -> list[int]:
        """The places of the trials, best first: those trained for longest, by their score.

        Trials of unequal length are those of `successive_halving`. Without a finite score: last.
        """

        def rank(place: int) -> tuple[bool, int, float]:
            trial = self.trials[place]
            score = self.score(trial) if self.mode == "min" else -self.score(trial)
            is_finite = math.isfinite(score)
            return not is_finite, -len(trial.history), score if is_finite else 0.0

        return sorted(range(len(self.trials)), key=rank)

    @property
    def ranked(self) -> list[Trial]:
        """The trials, best first."""
        return [self.trials[place] for place in self.order]

    def score(self, trial: Trial, metric: str | None = None) -> float:
        """What is monitored (or another metric), at the trial's end; NaN if it was stopped."""
        if trial.stopped is not None:
            return math.nan
        row, name = trial.history[-1], metric or self.monitor
        if name not in row:
            raise ValueError(f"no number is called {name!r}; there are: {', '.join(row)}")
        return float(row[name])

    def rows(self) -> list[dict[str, Any]]:
        """Each trial as one dict, best first: its configuration and the numbers of its end."""
        return [
            {**trial.configuration, **(trial.history or [{}])[-1], "stopped": trial.stopped}
            for trial in self.ranked
        ]

    def means(
        self, rows: str, columns: str, metric: str | None = None
    ) -> tuple[list[Any], list[Any], np.ndarray]:
        """(values of `rows`, values of `columns`, mean scores [rows, columns] over all the rest).

        For `plot.heat_map`, and line by line for `plot.lines`. NaN where a trial was stopped, and
        where there is none.
        """
        cells: dict[tuple[Any, Any], list[float]] = {}
        for trial in self.trials:
            place = trial.configuration[rows], trial.configuration[columns]
            cells.setdefault(place, []).append(self.score(trial, metric))
        down, across = (list(dict.fromkeys(values)) for values in zip(*cells, strict=True))
        table = [[np.mean(cells.get((row, column), math.nan)) for column in across] for row in down]
        return down, across, np.array(table)

    def __rich__(self) -> Any:
        """The best trials: the hyperparameters that vary, and how each ended."""
        from rich.table import Table

        rows = self.rows()
        tried = dict.fromkeys(name for trial in self.trials for name in trial.configuration)
        ends = dict.fromkeys([self.monitor, "epoch", "stopped", *rows[0]])
        names = [name for name in tried if _varies(rows, name)]
        names += [
            name
            for name in ends
            if name == self.monitor
            or (name.startswith("validation_") and name not in tried)
            or (name in ("epoch", "stopped") and _varies(rows, name))
        ]
        title = f"{len(rows)} trials by {self.monitor}"
        shown = Table(*names, title=title if len(rows) <= _SHOWN else f"{title}, {_SHOWN} best")
        for row in rows[:_SHOWN]:
            shown.add_row(*(_text(row.get(name)) for name in names))
        return shown


def sweep(
    build: Build,
    space: Sequence[Configuration],
    data: Batch | HostData,
    *,
    epochs: int,
    batch_size: int = 128,
    validation: Batch | None = None,
    monitor: str | None = None,
    mode: str = "min",
    groups: Sequence[str] = (),
    at_once: int | None = None,
) -> Sweep:
    """Trains every configuration of `space`; each comes out as one run of `fit` would.

    build: build(configuration) -> (layer, objective, optimizer). It gets the configuration without
        its "seed", which is the run's (0 where there is none).
    space: the configurations, of `space.grid`, `space.random`, or written as dicts.
    monitor, mode: the number of a trial's last epoch that ranks it, and whether the least ("min")
        or the greatest ("max") is best: by default the validation loss, or the training loss.
    groups: names of floats that `build` has to look at.
    at_once: so many configurations train at once under `vmap`, for want of memory; by default all
        of small networks, one after another where arithmetic bounds a step.

    Floats are arguments of the compiled program: learning rates, decays, rates of dropout, scales;
    `build` gets them as tracers. So is the seed. Everything else (an int, a text, a bool, a tuple,
    a float named in `groups`) is part of the program: one is compiled for each combination of
    these, and serves all configurations that share it.

    A run whose loss is not finite stops, ranks last, and changes nothing for the others.

        def build(h):
            layer = nn.serial(nn.linear(2, h["width"]), F.tanh, nn.linear(h["width"], 2))
            return layer, train.classification(layer), optim.momentum(h["learning_rate"])

        rates = space.grid(learning_rate=[0.01, 0.1, 1.0], width=[4, 16], seed=range(3))
        print(search.sweep(build, rates, points.train, epochs=20).best.configuration)
    """
    search = _Search(build, data, batch_size, validation, tuple(groups), at_once)
    return search.climb(space, (epochs,), 1.0, monitor, mode)


def successive_halving(
    build: Build,
    space: Sequence[Configuration],
    data: Batch | HostData,
    *,
    rungs: Sequence[int],
    keep: float = 0.5,
    batch_size: int = 128,
    validation: Batch | None = None,
    monitor: str | None = None,
    mode: str = "min",
    groups: Sequence[str] = (),
    at_once: int | None = None,
) -> Sweep:
    """As `sweep`, but only the best go on: after each rung the share `keep` of those that ran it.

    rungs: epochs counted from the beginning, as (1, 2, 4, 8): with keep = ½ each rung then costs
    about the same. The survivors go on from their states: the numbers of the last ones are those of
    a sweep of rungs[-1] epochs, at a fraction of its cost. Who learns slowly at first is lost.

    Jamieson and Talwalkar 2016, algorithm 1, where keep is ½ and each rung has the same budget.
    """
    if not rungs or any(late <= early for early, late in itertools.pairwise(rungs)):
        raise ValueError(f"successive_halving: rungs are {rungs}, but rising epochs are wanted")
    if not 0 < keep < 1:
        raise ValueError(f"successive_halving: keep is {keep}, but a share in (0, 1) is wanted")
    search = _Search(build, data, batch_size, validation, tuple(groups), at_once)
    return search.climb(space, rungs, keep, monitor, mode)


@dataclasses.dataclass(frozen=True)
class _Search:
    """What all trials share."""

    build: Build
    data: Batch | HostData
    batch_size: int
    validation: Batch | None
    groups: tuple[str, ...]
    at_once: int | None

    def climb(
        self,
        space: Sequence[Configuration],
        rungs: Sequence[int],
        keep: float,
        monitor: str | None,
        mode: str,
    ) -> Sweep:
        """All on the first rung, the share `keep` of each rung on the next."""
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"at_once must be at least 1 configuration, got {self.at_once}")
        if rungs[0] < 1:
            raise ValueError(f"epochs must be at least 1, got {rungs[0]}")
        if mode not in ("min", "max"):
            raise ValueError(f'mode is "min" or "max", got {mode!r}')
        monitor = monitor or ("loss" if self.validation is None else "validation_loss")
        trials = [Trial(configuration, [], None) for configuration in space]
        left = list(range(len(trials)))
        for epochs in rungs:
            rung = Sweep(self._advance([trials[place] for place in left], epochs), monitor, mode)
            for place, trial in zip(left, rung.trials, strict=True):
                trials[place] = trial
            best = rung.order[: math.ceil(keep * len(left))]
            left = [left[k] for k in best if math.isfinite(rung.score(rung.trials[k]))]
        return Sweep(trials, monitor, mode)

    def _advance(self, trials: list[Trial], epochs: int) -> list[Trial]:
        """Every trial after `epochs` epochs, counted from its beginning."""
        space = [trial.configuration for trial in trials]
        done: dict[int, Trial] = {}
        for step, places in together.programs(self.build, space, self.groups).items():
            after = self._train(step, [trials[place] for place in places], epochs)
            done.update(zip(places, after, strict=True))
        return [done[place] for place in range(len(trials))]

    def _train(self, step: SharedStep, trials: list[Trial], epochs: int) -> Iterator[Trial]:
        """These trials of one program, so many at once."""
        size = self._at_once(step, trials)
        for begin in range(0, len(trials), size):
            chunk = trials[begin : begin + size]
            if size == 1:
                yield self._alone(step, chunk[0], epochs)
            else:  # the last chunk is filled up, so that one shape is compiled
                filled = chunk + chunk[-1:] * (size - len(chunk))
                yield from self._together(step, filled, epochs)[: len(chunk)]

    def _at_once(self, step: SharedStep, trials: list[Trial]) -> int:
        """How many train in one call."""
        if isinstance(self.data, HostData):
            return 1
        if self.at_once is not None:
            return min(self.at_once, len(trials))
        batch = batch_like(self.data, self.batch_size)
        return len(trials) if together.pays(step, trials[0].configuration, batch) else 1

    def _alone(self, step: SharedStep, trial: Trial, epochs: int) -> Trial:
        """One trial by `fit`, whose compiled step serves the next one too."""
        numbers, seed = step.given(trial.configuration)
        member = together.start(numbers, seed, step=step)
        if trial.state is not None:
            member = Member(numbers, trial.state)
        measure = None
        if self.validation is not None:
            measure = functools.partial(_measured, step, jax.tree.map(jnp.asarray, self.validation))
        history = list(trial.history)
        try:
            for record in fit(
                step,
                member,
                self.data,
                epochs=epochs,
                batch_size=self.batch_size,
                validation=measure,
            ):
                scores = record.validation or {}
                history.append(_row(record.epoch, record.step, record.metrics, scores))
                member = record.state
        except NonFiniteLossError as error:
            state = jax.device_get(error.state.run)
            return trial._replace(history=history, state=state, stopped=error.step)
        return trial._replace(history=history, state=jax.device_get(member.run))

    def _together(self, step: SharedStep, trials: list[Trial], epochs: int) -> list[Trial]:
        """These trials in one program."""
        numbers, seeds = together.stacked([step.given(trial.configuration) for trial in trials])
        if trials[0].state is None:
            members = together.start(numbers, seeds, step=step)
        else:
            members = Member(numbers, together.stacked([trial.state for trial in trials]))
        histories = [list(trial.history) for trial in trials]
        data, validation = jax.tree.map(jnp.asarray, (self.data, self.validation))
        begin = len(histories[0])
        for number in range(begin, epochs):
            members, *measured = together.epoch(
                members,
                data,
                None,
                validation,
                together.shared(seeds),
                number,
                step=step,
                batch_size=self.batch_size,
            )
            metrics, scores, steps, alive = jax.device_get(measured)
            for k in np.flatnonzero(alive):
                one, other = ({name: part[name][k] for name in part} for part in (metrics, scores))
                histories[k].append(_row(number + 1, int(steps[k]), one, other))
        states, alive = jax.device_get((members.run, alive))
        return [
            trial._replace(
                history=history,
                state=(state := jax.tree.map(operator.itemgetter(k), states)),
                stopped=None if alive[k] else int(state.step),
            )
            for k, (trial, history) in enumerate(zip(trials, histories, strict=True))
        ]


def _measured(step: SharedStep, validation: Batch, member: Member) -> dict[str, Any]:
    return jax.device_get(together.measure(member, validation, step=step))


def _row(
    epoch: int, step: int, metrics: Mapping[str, Any], scores: Mapping[str, Any]
) -> dict[str, Any]:
    """A row of a history; matrices are left out."""
    named = {**metrics, **{f"validation_{name}": value for name, value in scores.items()}}
    numbers = {name: float(value) for name, value in named.items() if np.ndim(value) == 0}
    return {"epoch": epoch, "step": step, **numbers}


def _varies(rows: list[dict[str, Any]], name: str) -> bool:
    return len({repr(row.get(name)) for row in rows}) > 1


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
