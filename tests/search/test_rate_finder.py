from __future__ import annotations

import numpy as np
import optax
import pytest

from dlcore import nn, optim, search, train


@pytest.fixture(scope="module")
def problem():
    """A linear regression whose Hessian is known: (layer, data, its largest eigenvalue)."""
    x = np.random.default_rng(0).normal(size=(96, 3)).astype(np.float32) * np.float32([3, 1, 0.3])
    y = (x @ np.float32([[1], [-2], [3]])).astype(np.float32)
    layer = nn.linear(3, 1, bias=False)
    return layer, {"x": x, "y": y}, float(np.linalg.eigvalsh(2 * x.T @ x / 96)[-1])


def find(problem, optimizer=optim.sgd, **options):
    layer, examples, _ = problem
    options = {"low": 1e-4, "updates": 100, "batch_size": 96} | options
    return search.find_rate(layer, train.regression(layer), optimizer, examples, **options)


def test_the_suggestion_is_below_the_bound_of_convergence(problem):
    found = find(problem)
    bound = 2 / problem[2]  # gradient descent diverges beyond, on any quadratic
    assert bound / 100 < found.suggestion < bound
    assert found.suggestion == pytest.approx(found.rates[np.argmin(found.smoothed)] / 10)
    assert found.rates[-1] > bound  # it diverged, and was cut off
    assert len(found.rates) < 100


def test_losses_are_those_of_a_run_at_the_rising_rate(problem):
    layer, examples, _ = problem
    found = find(problem, updates=50, high=0.02, smoothing=0.5)
    rates = np.geomspace(1e-4, 0.02, 50)
    np.testing.assert_allclose(found.rates, rates, rtol=1e-5)
    w = np.float64(train.train_state(layer, optim.sgd(0.0)).params["kernel"])
    losses = []
    for rate in rates:
        error = examples["x"] @ w - examples["y"]
        losses.append(np.mean(error**2))
        w = w - rate * 2 * examples["x"].T @ error / 96
    np.testing.assert_allclose(found.losses, losses, rtol=1e-3)
    weights = 0.5 ** np.arange(50)[::-1]
    last = np.sum(weights * losses) / weights.sum()
    assert found.smoothed[-1] == pytest.approx(last, rel=1e-3)


def test_epochs_follow_one_another_in_the_order_of_fit(problem, blobs):
    examples = blobs(40)
    layer = nn.linear(4, 3)
    objective = train.classification(layer)
    found = search.find_rate(
        layer, objective, optim.sgd, examples, low=1e-3, high=1e-1, updates=9, batch_size=10, seed=3
    )

    def ramp(count):
        return 1e-3 * 100 ** (count / 8)

    optimizer = optax.sgd(ramp)
    step = train.make_step(objective, optimizer)
    state = train.train_state(layer, optimizer, seed=3)
    records = train.fit(step, state, examples, epochs=3, batch_size=10, every=1)
    sums = [record.metrics["loss"] * ((record.step - 1) % 4 + 1) for record in records][:9]
    starts = [0.0 if k % 4 == 0 else sums[k - 1] for k in range(9)]
    np.testing.assert_allclose(found.losses, np.subtract(sums, starts), rtol=1e-4)


def test_prints_the_suggestion(problem):
    assert "suggested rate" in find(problem).__rich__()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 1.0, "high": 0.1}, "0 < low < high"),
        ({"updates": 1}, "at least 2"),
        ({"smoothing": 1.0}, r"a share in \[0, 1\)"),
        ({"batch_size": 97}, "batch_size=97"),
    ],
)
def test_refuses(options, message, problem):
    with pytest.raises(ValueError, match=message):
        find(problem, **options)


def test_a_loss_that_begins_as_nan_is_refused(problem):
    layer, examples, eigenvalue = problem
    bad = {**examples, "x": examples["x"] * np.nan}
    with pytest.raises(ValueError, match="the first loss is not finite"):
        find((layer, bad, eigenvalue))
