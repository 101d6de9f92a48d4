"""What a package says of names that it does not have, and of those that it has."""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
import re
import sys
import traceback

import numpy as np
import pytest

import dlcore
from dlcore import names, nn, optim, tree

PACKAGES = [
    name
    for _, name, is_package in pkgutil.walk_packages(dlcore.__path__, "dlcore.")
    if is_package and name != "dlcore.kernels"
]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_shows_its_api_alone(name):
    package = importlib.import_module(name)
    assert dir(package) == sorted(package.__all__)
    assert len(set(package.__all__)) == len(package.__all__)
    for one in package.__all__:
        assert getattr(package, one) is not None
    with pytest.raises(AttributeError, match=r"has no attribute 'zzz'$"):
        _ = package.zzz


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("nn.Linear", "linear"),
        ("nn.Dense", "linear"),
        ("nn.conv2d", "conv"),
        ("nn.BatchNorm2d", "batch_norm"),
        ("nn.MaxPool2d", "max_pool"),
        ("nn.Sequential", "serial"),
        ("nn.relu", "functional.relu"),
        ("nn.ReLU", "functional.relu"),
        ("nn.CrossEntropyLoss", "functional.cross_entropy"),
        ("optim.Adam", "adam"),
        ("optim.SGD", "sgd"),
        ("optim.AdamW", "adamw"),
        ("functional.nll_loss", "functional.negative_log_likelihood"),
        ("functional.CrossEntropy", "cross_entropy"),
        ("models.ResNet", "resnet"),
        ("train.trainstate", "train_state"),
        ("data.image_folders", "image_folder"),
    ],
)
def test_a_name_of_another_library_is_answered_with_the_name_here(written, meant):
    package, name = written.split(".")
    with pytest.raises(AttributeError, match=f"did you mean {meant}[?,]") as caught:
        getattr(getattr(dlcore, package), name)
    shown = "".join(traceback.format_exception(caught.value))
    assert "Did you mean" not in shown  # Python's own, which may be another
    assert not hasattr(getattr(dlcore, package), name)


# ------------------------------------------------------------------------------------ arguments

CALLED = [
    one
    for package in (optim, nn, tree)
    for one in vars(package).values()
    if inspect.isfunction(one) and hasattr(one, "__wrapped__")
]
every_called = pytest.mark.parametrize("function", CALLED, ids=lambda one: one.__name__)


def test_every_function_of_optim_and_every_factory_of_a_layer_answers():
    combinators = {"serial", "branch", "residual", "concat", "repeat", "recurrent", "wire"}
    own = {"as_layer", "from_function", "make", "named", *combinators}
    missing = [
        name
        for package in (optim, nn)
        for name in package.__all__
        if inspect.isfunction(one := getattr(package, name)) and one not in CALLED
        if package is optim or inspect.signature(one).return_annotation == "Layer"
    ]
    assert set(missing) == own


@every_called
def test_to_answer_changes_nothing_else(function):
    plain = function.__wrapped__
    assert inspect.signature(function) == inspect.signature(plain)
    assert (function.__doc__, function.__name__) == (plain.__doc__, plain.__name__)
    assert copy.deepcopy(function) is function
    # By these two a worker process finds it.
    assert getattr(sys.modules[function.__module__], function.__qualname__) is function


@every_called
def test_a_misspelt_argument_is_answered_with_the_right_one(function):
    for name in inspect.signature(function).parameters:
        with pytest.raises(TypeError) as caught:
            function(**{f"{name}__": 7})
        package, message = function.__module__.split(".")[1], str(caught.value)
        assert message.startswith(f"{function.__name__} has no {name}__")
        assert f": write {package}.{function.__name__}(" in message
        assert re.search(rf"\b{name}=[7…]", message)


@names.arguments("box.fill(x)", {"mask": ".low"}, both=".low.high", around="f({call}, {value})")
def thing(low, high=2, *, mask=None, wide=False):
    """What answers, here."""
    if isinstance(low, str):
        raise TypeError("its own")
    return low, high, mask, wide


thing.__wrapped__.__module__ = "dlcore.things"  # its package is shown


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: thing(), "thing needs low: write things.thing(low=…)"),
        (lambda: thing(high=3), "thing needs low: write things.thing(low=…, high=3)"),
        (
            lambda: thing(1, 2, "a/*"),
            "takes 2 by position, got 3: write things.thing(1, 2, mask='a/*')",
        ),
        (lambda: thing(1, 2, "a", "b"), "got 4: write things.thing(1, 2, mask=('a', 'b'))"),
        (lambda: thing(1, 2, None, True), "got 4: write things.thing(1, 2, mask=None, wide=True)"),
        (lambda: thing(1, higgh=3), "thing has no higgh: write things.thing(1, high=3)"),
        (lambda: thing(1, zzz=3), "has no zzz, only low, high, mask, wide: write things.thing(1)"),
        (lambda: thing(both=(3, 4)), "thing has no both: write things.thing(low=3, high=4)"),
        (lambda: thing(1, both=3), "thing has no both, only low, high"),
        (lambda: thing(1, around="x"), "thing has no around: write f(things.thing(1), 'x')"),
        (lambda: thing(1, around=None), "thing has no around: write things.thing(1)"),
        (lambda: thing(1, wde=int), "write things.thing(1, wide=int)"),
        (lambda: thing(1, wde=lambda x: x), "write things.thing(1, wide=…)"),
        (lambda: thing(1, wde=np.float32(3)), "write things.thing(1, wide=…)"),
        (lambda: thing(1, wde={"a": list(range(99))}), "write things.thing(1, wide=…)"),
        (
            lambda: thing({"a": np.ones(2)}, 5, wde=1),
            "thing is given a dict of 1 arrays, the first float64[2] as low, and has no wde: write "
            "things.thing(5, wide=1); box.fill(x) takes the arrays",
        ),
        (lambda: thing("refused"), "its own"),
        (lambda: thing(1, low=2), "got multiple values for argument 'low'"),
    ],
)
def test_a_call_that_does_not_fit_is_corrected(call, told):
    with pytest.raises(TypeError) as caught:
        call()
    assert told in str(caught.value)
    assert caught.value.__context__ is None or told == "its own"


def test_a_call_that_fits_is_left_alone():
    ones = np.ones(2)
    assert thing(ones, 3, mask="a")[0] is ones


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.ones((2, 3), np.float32), "float32[2, 3]"),
        ([np.ones(2), 3], "a list of 1 arrays, the first float64[2]"),
        ({"a": {"b": np.ones(2)}}, "a dict of 1 arrays, the first float64[2]"),
        ((one for one in "ab"), "a generator"),
        ({"a": np.ones(9)}.values(), "a dict_values"),
        ("text", "'text'"),
        (nn.linear(3, 4), "linear(in_features=3, out_features=4, bias=True)"),
        (nn.serial(nn.flatten), "serial flatten1: flatten"),
        (10**400, "1" + 79 * "0"),
    ],
)
def test_a_value_in_an_error_is_short_and_has_no_numbers_of_arrays(value, text):
    assert names.written(value) == text


def test_one_quantity_has_one_name():
    """Of what an argument is called, over all packages."""
    used = {
        (argument, f"{package}.{name}")
        for package in PACKAGES
        for name in importlib.import_module(package).__all__
        if inspect.isfunction(one := getattr(importlib.import_module(package), name))
        for argument in inspect.signature(one).parameters
    }
    retired = {
        "lr",
        "epsilon",
        "globs",
        "patterns",
        "leaves",
        "where",
        "normalisation",
        "num_heads",
    }
    assert not {one for one in used if one[0] in retired}
    decaying = {name for argument, name in used if argument == "decay"}
    assert not decaying & {"dlcore.optim.momentum", "dlcore.optim.nesterov"}
