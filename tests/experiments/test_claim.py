"""What a claim expects, and whether what was measured is that."""

from __future__ import annotations

import math

import pytest

from experiments.claim import Claim
from experiments.tables import cell, markdown


@pytest.mark.parametrize(
    ("expected", "held", "not_held"),
    [
        ("≥ 0.98", [0.98, 1.0, math.inf], [0.9799, -1.0]),
        ("> 0", [1e-9, math.inf], [0.0, -1.0]),
        ("≤ 1e-5", [1e-5, 0.0, -math.inf], [1.1e-5]),
        ("≤ -2.5", [-2.5], [-2.4]),
        ("2 ± 0.3", [1.71, 2.0, 2.29], [1.69, 2.31, math.inf]),
        ("1 ± 0", [1.0], [0.999]),
    ],
)
def test_a_claim_holds_within_its_bound(expected, held, not_held):
    claim = Claim("it", expected, "someone")
    assert all(claim.holds(one) for one in held)
    assert not any(claim.holds(one) for one in (*not_held, math.nan))


@pytest.mark.parametrize(
    "expected", ["0.98", "< 1", "≥ much", "≥0.98", "2 ±", "", "> 0, 1 at best"]
)
def test_what_cannot_be_read_is_refused(expected):
    with pytest.raises(ValueError, match="expected is ≥, > or ≤ a figure, or figure ± margin"):
        Claim("it", expected, "someone").holds(1.0)


def test_cells_and_markdown():
    cells = (12345, 0.123456, True, False, None, "text", 1e-9)
    assert [cell(one) for one in cells] == [
        "12,345", "0.1235", "yes", "no", "–", "text", "1e-09",
    ]  # fmt: skip
    table = [("name", "share"), ("|a|", 0.5), ("b", 2)]
    assert markdown(table, "Shares") == (
        "Shares\n\n| name | share |\n| --- | ---: |\n| \\|a\\| | 0.5 |\n| b | 2 |\n"
    )
    assert markdown((), "A line.") == "A line.\n"
