"""A claim: what is measured, the figure expected of it, and who says so.

An experiment states its claims as data, before anything runs; a verdict is a claim beside the
figure measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from experiments.tables import Table

FIGURE = r"[-+.\de]+"
EXPECTED = re.compile(
    rf"(?P<relation>[≥>≤]) (?P<bound>{FIGURE})|(?P<figure>{FIGURE}) ± (?P<margin>{FIGURE})"
)


class Claim(NamedTuple):
    """What is claimed; the figure expected, as "≥ 0.98", "> 0", "≤ 1e-5" or "2 ± 0.3"; a source."""

    what: str
    expected: str
    source: str

    def holds(self, measured: float) -> bool:
        """Whether the figure measured is the expected one, the bound included but for ">".

        NaN never is. ValueError where `expected` has another form.
        """
        found = EXPECTED.fullmatch(self.expected)
        if found is None:
            raise ValueError(f"expected is ≥, > or ≤ a figure, or figure ± margin: {self.expected}")
        if found["margin"]:
            return abs(measured - float(found["figure"])) <= float(found["margin"])
        bound = float(found["bound"])
        return {"≥": measured >= bound, ">": measured > bound, "≤": measured <= bound}[
            found["relation"]
        ]


class Verdict(NamedTuple):
    """A claim, the figure measured, and whether it holds."""

    what: str
    expected: str
    measured: float
    holds: bool
    source: str


def table(claims: Sequence[Claim] | Sequence[Verdict]) -> Table:
    """A line for each."""
    yield "claim", *claims[0]._fields[1:]
    yield from claims
