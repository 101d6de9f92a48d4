from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from dlcore import data
from dlcore.data import DataError, mnist


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("minst", "mnist"), ("MNIST-fashion_mnist", None), ("digit", "digits"), ("zzz", None)],
)
def test_unknown_names_get_the_nearest_and_the_list(name, nearest):
    with pytest.raises(ValueError, match="no data set is called") as error:
        data.load(name)
    message = str(error.value)
    assert repr(name) in message
    assert all(known in message for known in data.NAMES)
    if nearest:
        assert f"did you mean {nearest!r}?" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", data.NAMES)
def test_unknown_options_are_refused(name):
    with pytest.raises(ValueError, match=f"no option of {name} is called 'sizes'"):
        data.load(name, sizes=3)


@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_a_missing_root_is_refused(name, tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        data.load(name, tmp_path / "nowhere")


def test_the_home_folder_is_understood(small_mnist, tmp_path, monkeypatch):
    small_mnist.write(tmp_path / "sets")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(data.load("mnist", "~/sets", validation=4).test["y"]) == 20
    assert len(mnist.mnist("~/sets", validation=4).test["y"]) == 20
    monkeypatch.setenv("DLCORE_DATA", "~/sets")
    assert len(data.load("mnist", validation=4).test["y"]) == 20


@pytest.mark.parametrize("name", data.registry.FROM_FILES)
def test_a_folder_that_cannot_be_is_refused(name):
    for load in (data.load, lambda name, root: data.registry.FROM_FILES[name](root)):
        with pytest.raises(DataError, match=r"^'a\\x00b' is no path") as error:
            load(name, "a\0b")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", data.registry.FROM_FILES)
def test_a_folder_that_must_not_be_read_is_not_passed_over(name, tmp_path, monkeypatch):
    """Else the set would be downloaded, or said to be missing, although it is there."""
    real = os.stat

    def refuse(path, *arguments, **options):
        if str(path).startswith(str(tmp_path / "sets") + "/"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *arguments, **options)

    (tmp_path / "sets").mkdir()
    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(DataError, match=r"sets/.*: cannot be read \(Permission denied\); check"):
        data.load(name, tmp_path / "sets")


def test_importing_is_light():
    code = (
        "import sys, dlcore.data; "
        "print({'sklearn', 'pooch', 'PIL', 'requests', 'tqdm'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
