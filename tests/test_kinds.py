"""What of a value is refused by its parameter's annotation, and what it was meant to be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import names


@names.arguments()
def thing(
    size: int,
    rate: float = 0.5,
    *,
    flag: bool = False,
    most: int | None = None,
    init: Initializer = abs,  # noqa: F821
    other: int | list[int] = 3,
):
    """What takes a value of each kind."""
    return size, rate, flag, most, init, other


thing.__wrapped__.__module__ = "dlcore.things"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: thing("3"), "thing takes an integer as size, got '3': write things.thing(3)"),
        (lambda: thing(3.0), "takes an integer as size, got 3.0: write things.thing(3)"),
        (lambda: thing(1e4), "got 10000.0: write things.thing(10000)"),
        (lambda: thing(2.5), "takes an integer as size, got 2.5: write things.thing(…)"),
        (lambda: thing(True), "takes an integer as size, got True: write things.thing(…)"),
        (lambda: thing(np.ones(2)), "takes an integer as size, got float64[2]: write"),
        (lambda: thing(np.float32(2)), "takes an integer as size, got"),
        (lambda: thing(1, [0.5]), "takes a number as rate, got [0.5]: write things.thing(1, …)"),
        (lambda: thing(1, None), "takes a number as rate, got None: write things.thing(1, …)"),
        (lambda: thing(1, "1e-3"), "got '1e-3': write things.thing(1, 0.001)"),
        (lambda: thing(1, True), "takes a number as rate, got True"),
        (lambda: thing(1, np.ones(3)), "takes a number as rate, got float64[3]"),
        (lambda: thing(1, jax.random.key(0)), "takes a number as rate, got key<fry>[]"),
        (lambda: thing(1, flag="yes"), "takes True or False as flag, got 'yes': write things."),
        (lambda: thing(1, flag="yes"), "things.thing(1, flag=True)"),
        (lambda: thing(1, flag=0), "got 0: write things.thing(1, flag=False)"),
        (lambda: thing(1, flag=None), "takes True or False as flag, got None"),
        (lambda: thing(1, most="all"), "takes an integer or None as most, got 'all'"),
        (lambda: thing(1, init="glorot"), "takes a function of key and shape (nn.init) as init"),
        (lambda: thing("3", flg=1), "has no flg, and takes an integer as size, got '3', and takes"),
        (lambda: thing(float("inf")), "takes an integer as size, got inf"),
    ],
)
def test_what_is_of_another_kind_is_told_before_anything_runs(call, told):
    with pytest.raises(TypeError) as caught:
        call()
    assert told in str(caught.value)
    assert caught.value.__context__ is None


def test_numbers_of_other_libraries_are_numbers():
    given = thing(np.int64(3), np.float32(0.5), flag=np.bool_(True), most=np.uint8(2))
    assert given[:4] == (3, 0.5, True, 2)
    assert [type(one) for one in given[:4]] == [int, float, bool, int]
    rate = jnp.bfloat16(0.5)
    assert thing(jnp.int32(3), rate)[1] is rate
    jax.eval_shape(lambda rate: thing(1, rate)[1], 0.5)  # traced


def test_what_has_no_plain_annotation_is_left_alone():
    assert thing(1, other="three")[-1] == "three"
