"""What the suite costs, and what it may: compiled programs by folder, minutes by chapter.

Most of the suite's time is compiling, and a program is a program on every machine: so programs are
what CI counts, and seconds are only told. Too many? Outside of jit each operation is a program of
its own, for each shape: compile one function where a test calls eagerly, and share it among cases.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import PurePosixPath
from typing import NamedTuple

import jax
import pytest
from hypothesis import settings

IN_CI = bool(os.environ.get("CI"))

# Compiled programs that the tests of a folder may need: those of `make test`, and the slow ones.
# (What compares with PyTorch is not counted: CI runs it beside another jax.)
PROGRAMS = {
    "dlcore": {"quick": 200},
    "tests": {"quick": 200, "slow": 15},
    "tests/analysis": {"quick": 220, "slow": 15},
    "tests/data": {"quick": 475, "slow": 90},
    "tests/derivatives": {"quick": 175, "slow": 10},
    "tests/experiments": {"quick": 590, "slow": 1970},
    "tests/functional": {"quick": 1450, "slow": 20},
    "tests/generate": {"quick": 360},
    "tests/interop": {"quick": 400, "slow": 360},
    "tests/kernels": {"quick": 85, "slow": 10},
    "tests/models": {"quick": 400, "slow": 225},
    "tests/nn": {"quick": 1630, "slow": 400},
    "tests/optim": {"quick": 840, "slow": 285},
    "tests/search": {"quick": 180, "slow": 125},
    "tests/train": {"quick": 800, "slow": 100},
}
# Files that share a process share programs, and which ones do is chance.
MARGIN = 1.1

# Minutes of `make test-all` on two quiet cores, and whose tests they are; what no chapter names
# belongs to the first.
MINUTES: dict[str, tuple[float, tuple[str, ...]]] = {
    "foundation to speed": (9, ()),
    "sequences": (
        2,
        (
            "tests/analysis/test_attention.py",
            "tests/analysis/test_word_vectors.py",
            "tests/data/test_animals.py",
            "tests/data/test_faces.py",
            "tests/data/test_labelled_texts.py",
            "tests/data/test_lengths.py",
            "tests/data/test_long_memory.py",
            "tests/data/test_pronunciation.py",
            "tests/data/test_tagging.py",
            "tests/data/test_text.py",
            "tests/data/test_timeseries.py",
            "tests/data/test_tokenizers.py",
            "tests/data/test_vocabulary.py",
            "tests/data/test_words.py",
            "tests/experiments/test_chunking.py",
            "tests/experiments/test_faces.py",
            "tests/experiments/test_forecasting.py",
            "tests/experiments/test_long_memory.py",
            "tests/experiments/test_pronunciation.py",
            "tests/experiments/test_rows.py",
            "tests/experiments/test_sentiment.py",
            "tests/experiments/test_sequences.py",
            "tests/experiments/test_speech.py",
            "tests/experiments/test_structured.py",
            "tests/experiments/test_word2vec.py",
            "tests/experiments/test_zero_shot.py",
            "tests/functional/test_attention.py",
            "tests/functional/test_chunks.py",
            "tests/functional/test_crf.py",
            "tests/functional/test_edit_distance.py",
            "tests/functional/test_metric_learning.py",
            "tests/functional/test_multilabel.py",
            "tests/functional/test_onnx.py",
            "tests/functional/test_positions.py",
            "tests/functional/test_recurrent.py",
            "tests/functional/test_verification.py",
            "tests/functional/test_zero_shot.py",
            "tests/generate/test_beams.py",
            "tests/generate/test_choice.py",
            "tests/generate/test_sampling.py",
            "tests/models/test_embedding_net.py",
            "tests/models/test_encoder.py",
            "tests/models/test_forecaster.py",
            "tests/models/test_language.py",
            "tests/models/test_seq2seq.py",
            "tests/models/test_tagger.py",
            "tests/models/test_word2vec.py",
            "tests/models/test_zero_shot.py",
            "tests/nn/test_additive_attention.py",
            "tests/nn/test_attention.py",
            "tests/nn/test_crf.py",
            "tests/nn/test_embedding.py",
            "tests/nn/test_position.py",
            "tests/nn/test_recurrent.py",
            "tests/train/test_metric_learning.py",
            "tests/train/test_rows.py",
            "tests/train/test_tagging.py",
        ),
    ),
    "generative models": (
        1,
        (
            "tests/analysis/test_generated.py",
            "tests/analysis/test_latent.py",
            "tests/data/test_binarisation.py",
            "tests/experiments/test_generative.py",
            "tests/functional/test_bounds.py",
            "tests/functional/test_distributions.py",
            "tests/functional/test_sparsity.py",
            "tests/generate/test_vae.py",
            "tests/models/test_autoencoder.py",
            "tests/models/test_vae.py",
            "tests/train/test_reconstruction.py",
            "tests/train/test_variational.py",
        ),
    ),
    "understanding": (1.5, ()),
    "playground": (1, ()),
    "scale": (2, ()),
    "notebooks and site": (3, ("tests/test_notebooks.py",)),
}
CORES = 2


def examples(count: int) -> settings:
    """Hypothesis draws so many examples in CI, a quarter of them elsewhere, always the same."""
    drawn = count if IN_CI else max(2, count // 4)
    return settings(max_examples=drawn, deadline=None, derandomize=True)


class Cost(NamedTuple):
    programs: int = 0
    seconds: float = 0.0  # of the CPU, children that have ended among them

    def plus(self, other: Cost) -> Cost:
        return Cost(self.programs + other.programs, self.seconds + other.seconds)


class Meter:
    """What this process has spent since it was last asked."""

    def __init__(self) -> None:
        self.programs = 0
        self.last = self.now()
        jax.monitoring.register_event_duration_secs_listener(self.count)

    def count(self, event: str, duration: float, **_: object) -> None:
        self.programs += event == "/jax/core/compile/backend_compile_duration"

    def now(self) -> Cost:
        times = os.times()
        return Cost(self.programs, sum(times[:4]))

    def since(self) -> Cost:
        before, self.last = self.last, self.now()
        return Cost(self.last.programs - before.programs, self.last.seconds - before.seconds)


class Budget:
    """The plugin: each report carries its cost, also from a worker, and the sums are told last."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.costs: dict[tuple[str, str], Cost] = defaultdict(Cost)  # by test, and of which kind

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        self.meter.since()  # what lies before a test is nobody's

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        report = yield
        report.cost = tuple(self.meter.since())
        return report

    def pytest_runtest_logreport(self, report) -> None:
        kinds = (kind for kind in ("torch", "slow") if kind in report.keywords)
        test = report.nodeid, next(kinds, "quick")
        self.costs[test] = self.costs[test].plus(Cost(*report.cost))

    def by_folder(self) -> dict[tuple[str, str], Cost]:
        sums: dict[tuple[str, str], Cost] = defaultdict(Cost)
        for (test, kind), cost in self.costs.items():
            sums[folder(test), kind] = sums[folder(test), kind].plus(cost)
        return sums

    def by_chapter(self) -> dict[str, float]:
        """Minutes of all cores."""
        sums = dict.fromkeys(MINUTES, 0.0)
        for (test, _), cost in self.costs.items():
            sums[chapter(test)] += cost.seconds / 60 / CORES
        return sums

    def exceeded(self) -> list[str]:
        return [
            f"{where}: {cost.programs} compiled programs in {kind} tests, "
            f"but {allowed(where, kind)} are stated in tests/budget.py"
            for (where, kind), cost in sorted(self.by_folder().items())
            if kind != "torch" and cost.programs > MARGIN * allowed(where, kind)
        ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session) -> None:
        if IN_CI and self.exceeded() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter, config) -> None:
        exceeded = self.exceeded()
        if config.getoption("costs"):
            terminalreporter.section("costs")
            for line in self.table():
                terminalreporter.write_line(line)
        for line in exceeded:
            terminalreporter.write_line(line, red=True)

    def table(self) -> list[str]:
        lines = [f"{'folder':24} {'programs':>9} {'allowed':>9} {'CPU s':>7}"]
        for (where, kind), cost in sorted(self.by_folder().items()):
            limit = "" if kind == "torch" else allowed(where, kind)
            name = f"{where}, {kind}"
            lines.append(f"{name:24} {cost.programs:9} {limit:>9} {cost.seconds:7.1f}")
        lines += ["", f"{'chapter':24} {'minutes':>9} {'allowed':>9}"]
        lines += [
            f"{name:24} {minutes:9.1f} {MINUTES[name][0]:9}"
            for name, minutes in self.by_chapter().items()
        ]
        dearest = sorted(self.costs.items(), key=lambda item: -item[1].seconds)[:10]
        lines += ["", f"{'programs':>9} {'CPU s':>7}  the dearest"]
        lines += [f"{cost.programs:9} {cost.seconds:7.1f}  {test}" for (test, _), cost in dearest]
        return lines


def allowed(where: str, kind: str) -> int:
    """Programs of the quick or the slow tests of a folder; none where nothing is stated."""
    return PROGRAMS.get(where, {}).get(kind, 0)


def folder(test: str) -> str:
    """tests/optim of tests/optim/minimization/test_minimize.py::test_…"""
    parts = PurePosixPath(test.partition("::")[0]).parent.parts
    return "/".join(parts[:2] if parts[0] == "tests" else parts[:1])


def chapter(test: str) -> str:
    (first, *_), named = (
        MINUTES,
        (name for name, (_, places) in MINUTES.items() if test.startswith(places)),
    )
    return next(named, first)
