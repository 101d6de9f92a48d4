from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import functional as F
from tests.budget import examples


@functools.cache
def by_hand(one, other):
    """Its definition: the cheapest of the three last steps."""
    if not one or not other:
        return len(one) + len(other)
    return min(
        by_hand(one[:-1], other) + 1,
        by_hand(one, other[:-1]) + 1,
        by_hand(one[:-1], other[:-1]) + (one[-1] != other[-1]),
    )


@given(one=st.text("abc", max_size=7), other=st.text("abc", max_size=7))
@examples(60)
def test_it_is_the_fewest_changes(one, other):
    assert F.edit_distance(one, other) == by_hand(one, other)
    assert F.edit_distance([*one], tuple(other)) == F.edit_distance(other, one)


def test_the_nearest_of_several_references_counts():
    """1 change of 3 wanted, and 0 of 2."""
    found = F.error_rate(["abd", "xy"], [["abc", "zzz"], ["xyz", "xy"]])
    assert found == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a"], [], "1 predictions and 0 references, but a list of right ones"),
        (["a"], [[]], "a list of right ones, .right, …., is wanted for each"),
        (["abc"], ["abc"], r"has the text 'abc' where a list of right ones is wanted, \['abc'\]"),
        (["a", "b"], "ab", r"has the text 'ab' where a list of right ones is wanted"),
        (["a"], [[""]], "all references are empty"),
    ],
)
def test_refuses(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        F.error_rate(predictions, references)
