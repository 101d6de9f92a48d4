from __future__ import annotations

import warnings

import pytest

from dlcore import nn, optim, search, train

optuna = pytest.importorskip("optuna")


LAYER = nn.linear(4, 3)
OBJECTIVE = train.classification(LAYER)


def build(h):
    return LAYER, OBJECTIVE, optim.sgd(h["learning_rate"])


def suggest(trial):
    return {"learning_rate": trial.suggest_float("learning_rate", 1e-3, 1, log=True)}


def study_of(file, blobs, trials, suggest=suggest, **options):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return search.optuna_search(
            build,
            suggest,
            blobs(60),
            validation=blobs(30, seed=1),
            trials=trials,
            epochs=2,
            batch_size=20,
            file=file,
            **options,
        )


def test_each_trial_is_a_fit_and_the_study_goes_on_from_its_file(tmp_path, blobs):
    file = tmp_path / "search.log"
    assert len(study_of(file, blobs, 1).trials) == 1
    study = study_of(file, blobs, 2)
    assert len(study.trials) == 2
    assert len(study_of(file, blobs, 2).trials) == 2
    layer, objective, optimizer = build(study.best_params)
    records = train.fit(
        train.make_step(objective, optimizer),
        train.train_state(layer, optimizer),
        blobs(60),
        epochs=2,
        batch_size=20,
        validation=blobs(30, seed=1),
    )
    *_, last = records
    assert study.best_value == pytest.approx(last.validation["loss"], rel=1e-5)


@pytest.mark.slow
def test_a_run_that_diverges_is_pruned(tmp_path, blobs):
    def far(trial):
        return {"learning_rate": trial.suggest_float("learning_rate", 1e37, 2e38)}

    study = study_of(tmp_path / "search.log", blobs, 1, suggest=far)
    assert [trial.state.name for trial in study.trials] == ["PRUNED"]


@pytest.mark.parametrize(
    ("options", "message"), [({"mode": "most"}, "mode is"), ({"trials": 0}, "trials must be")]
)
def test_refuses(tmp_path, blobs, options, message):
    with pytest.raises(ValueError, match=message):
        study_of(tmp_path / "search.log", blobs, **{"trials": 1} | options)
