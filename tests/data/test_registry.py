from __future__ import annotations

import subprocess
import sys

import pytest

from dlcore import data
from dlcore.data import DataError


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


def test_importing_is_light():
    code = (
        "import sys, dlcore.data; "
        "print({'sklearn', 'pooch', 'PIL', 'requests', 'tqdm'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
