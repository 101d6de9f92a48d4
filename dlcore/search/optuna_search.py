"""Larger searches by Optuna, across processes: `pip install 'dlcore[optuna]'`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dlcore.data.batching import HostData
from dlcore.search.together import Build, Configuration
from dlcore.train.fit import fit
from dlcore.train.guard import NonFiniteLossError
from dlcore.train.objective import Batch
from dlcore.train.state import train_state
from dlcore.train.step import make_step

if TYPE_CHECKING:
    from optuna import Study, Trial


def optuna_search(
    build: Build,
    suggest: Callable[[Trial], Configuration],
    data: Batch | HostData,
    *,
    validation: Batch | HostData,
    trials: int,
    epochs: int,
    file: str | Path,
    batch_size: int = 128,
    monitor: str = "loss",
    mode: str = "min",
    seed: int = 0,
) -> Study:
    """Adds trials to the study in `file` until there are `trials`; each is one run of `fit`.

    Every process that is given the same `file` works on the same study, and a study that was broken
    off goes on. An epoch whose validation score is worse than the median of the earlier trials'
    prunes its trial, a loss that is not finite too. The study's sampler is Optuna's (TPE, Bergstra
    et al. 2011); `seed` is that of each run's parameters and batches.

    build: as in `sweep`, but its configuration holds plain numbers. suggest: draws one.
    monitor, mode: which validation metric, and whether the least ("min") or the greatest is best.

        def suggest(trial):
            return {
                "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1, log=True),
                "width": trial.suggest_int("width", 4, 64, log=True),
            }

        search.optuna_search(build, suggest, …, trials=50, epochs=20, file="search.log").best_params
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage
    from optuna.trial import TrialState

    if mode not in ("min", "max"):
        raise ValueError(f'mode is "min" or "max", got {mode!r}')
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}")

    def run(trial: Trial) -> float:
        configuration = suggest(trial)
        layer, objective, optimizer = build(configuration)
        step = make_step(objective, optimizer)
        state = train_state(layer, optimizer, seed=seed)
        score = math.nan
        try:
            for record in fit(
                step, state, data, epochs=epochs, batch_size=batch_size, validation=validation
            ):
                score = float((record.validation or {})[monitor])
                trial.report(score, record.epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned(f"pruned after epoch {record.epoch}")
        except NonFiniteLossError as error:
            raise optuna.TrialPruned(str(error)) from error
        return score

    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(file))),
        study_name="search",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(),
        direction="minimize" if mode == "min" else "maximize",
    )
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    if len(study.get_trials(deepcopy=False, states=ended)) < trials:
        enough = optuna.study.MaxTrialsCallback(trials, states=ended)
        study.optimize(run, callbacks=[enough])
    return study
