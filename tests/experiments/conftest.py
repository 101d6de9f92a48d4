from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.basics import classify
from experiments.command import main
from tests.experiments.smoke import run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """The command line, run in an empty folder: command(*argv) -> (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*argv):
        status = main([str(one) for one in argv])
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Where processes find what others have compiled, since there are many that run the same."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def process(tmp_path, compiled):
    """process(*argv, **options): `python …` as a Popen of its own, in an empty folder."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def start(*argv, **options):
        return subprocess.Popen(
            [sys.executable, *map(str, argv)],
            **options,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a short run on digits, with its weights."""
    out = tmp_path_factory.mktemp("trained")
    classify.run(classify.Config(model="mlp", epochs=10, out=out))
    return out


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """smoke(name): the result of an experiment's smoke form, run once in a process."""
    return functools.cache(lambda name: run(name, tmp_path_factory.mktemp(name)))
