from __future__ import annotations

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from tests import budget


@pytest.fixture
def spent(monkeypatch):
    """A budget of ten quick programs and no slow ones, and what some tests reported."""
    monkeypatch.setattr(budget, "PROGRAMS", {"tests/optim": {"quick": 10}})
    plugin = budget.Budget()

    def report(test, programs, seconds=0.0, *marks):
        cost = programs, seconds
        plugin.pytest_runtest_logreport(SimpleNamespace(nodeid=test, cost=cost, keywords=marks))

    return plugin, report


def finished(plugin, monkeypatch, in_ci):
    monkeypatch.setattr(budget, "IN_CI", in_ci)
    session = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    plugin.pytest_sessionfinish(session)
    return session.exitstatus


def test_programs_are_counted_once_each():
    meter = budget.Meter()
    double = jax.jit(lambda x: 2 * x)
    double(np.ones(3, np.float32))
    assert meter.since().programs == 1
    double(np.ones(3, np.float32))
    assert meter.since().programs == 0


def test_too_many_programs_fail_in_ci_alone(spent, monkeypatch):
    plugin, report = spent
    report("tests/optim/test_adam.py::test_one", 5)
    report("tests/optim/minimization/test_newton.py::test_one", 6)
    assert plugin.exceeded() == []  # 11 are within the margin
    assert finished(plugin, monkeypatch, in_ci=True) == pytest.ExitCode.OK
    report("tests/optim/test_adam.py::test_one", 1)  # its teardown
    (said,) = plugin.exceeded()
    assert said.startswith("tests/optim: 12 compiled programs in quick tests, but 10 are stated")
    assert finished(plugin, monkeypatch, in_ci=False) == pytest.ExitCode.OK
    assert finished(plugin, monkeypatch, in_ci=True) == pytest.ExitCode.TESTS_FAILED


def test_slow_tests_and_new_folders_have_a_budget_of_their_own(spent):
    plugin, report = spent
    report("tests/optim/test_adam.py::test_long", 1, 0.0, "slow")
    report("tests/new/test_one.py::test_one", 1)
    report("tests/optim/test_adam.py::test_equals_torch", 99, 0.0, "torch", "slow")
    assert [said.split(" compiled")[0] for said in plugin.exceeded()] == [
        "tests/new: 1",
        "tests/optim: 1",
    ]


def test_minutes_are_those_of_the_chapter_and_of_all_cores(spent):
    plugin, report = spent
    report("tests/optim/test_adam.py::test_one", 0, 60.0)
    report("tests/test_notebooks.py::test_it_runs", 0, 30.0, "slow")
    minutes = plugin.by_chapter()
    assert minutes["foundation to speed"] == pytest.approx(0.5)
    assert minutes["notebooks and site"] == pytest.approx(0.25)
    assert any("tests/optim/test_adam.py::test_one" in line for line in plugin.table())


@pytest.mark.parametrize(("in_ci", "drawn"), [(True, 40), (False, 10)])
def test_ci_draws_more_examples(monkeypatch, in_ci, drawn):
    monkeypatch.setattr(budget, "IN_CI", in_ci)
    assert budget.examples(40).max_examples == drawn
    assert budget.examples(40).derandomize
