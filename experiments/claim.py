"""A claim: an expected figure beside the measured one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Claim(NamedTuple):
    """What is claimed, the figure expected, the one measured, the verdict, and who claims it."""

    what: str
    expected: str
    measured: float
    holds: bool
    source: str


def at_least(what: str, floor: float, measured: float, source: str) -> Claim:
    """The claim measured ≥ floor."""
    return Claim(what, f"≥ {floor:g}", measured, measured >= floor, source)


def more_than(what: str, bound: float, measured: float, source: str) -> Claim:
    """The claim measured > bound."""
    return Claim(what, f"> {bound:g}", measured, measured > bound, source)


def at_most(what: str, ceiling: float, measured: float, source: str) -> Claim:
    """The claim measured ≤ ceiling."""
    return Claim(what, f"≤ {ceiling:g}", measured, measured <= ceiling, source)


def near(what: str, expected: float, margin: float, measured: float, source: str) -> Claim:
    """The claim |measured − expected| ≤ margin."""
    holds = abs(measured - expected) <= margin
    return Claim(what, f"{expected:g} ± {margin:g}", measured, holds, source)


def table(claims: Sequence[Claim]) -> Any:
    """The claims as a rich table."""
    from rich.table import Table

    shown = Table("claim", "expected", "measured", "holds", "source")
    for one in claims:
        shown.add_row(
            one.what,
            one.expected,
            f"{one.measured:.4g}",
            "[green]yes[/]" if one.holds else "[red]no[/]",
            one.source,
        )
    return shown
