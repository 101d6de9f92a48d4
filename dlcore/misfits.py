"""What of two sets of named things does not fit, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

LISTED = 8  # things that an error names
ITEM_LIMIT = 200  # characters of one of them


def misfits(wanted: Mapping[str, str], given: Mapping[str, str]) -> tuple[int, list[str]]:
    """How many things are missing, too much or of another form, and which, with both forms.

    Beside one that is missing stands the nearest of those that are too much.
    """
    lacking = [name for name in wanted if name not in given]
    spare = [name for name in given if name not in wanted]
    found = [
        f"{name}: wanted {wanted[name]}, got {given[name]}"
        for name in wanted
        if name in given and wanted[name] != given[name]
    ]
    count = len(found) + len(lacking) + len(spare)
    for name in lacking:
        misfit = f"{name}: wanted {wanted[name]}, got none"
        if spare and len(found) < LISTED:
            near = _nearest(name, wanted[name], {one: given[one] for one in spare})
            misfit += f", the nearest is {near} {given[near]}"
            spare.remove(near)
        found.append(misfit)
    return count, found + [f"{name}: wanted none, got {given[name]}" for name in spare]


def _nearest(name: str, form: str, others: Mapping[str, str]) -> str:
    """The name most like this one, among those of the same form where there are any."""
    alike = [other for other in others if others[other] == form] or list(others)
    matcher = difflib.SequenceMatcher(b=name[:ITEM_LIMIT])

    def likeness(other: str) -> float:
        matcher.set_seq1(other[:ITEM_LIMIT])
        return matcher.ratio()

    return max(alike[:1_000], key=likeness)


def listed(items: list[str]) -> str:
    """The items in one line; of a long list the first, and how many there are more."""
    shown = [one_line(item) for item in items[:LISTED]]
    more = f"; and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return "; ".join(shown) + more


def one_line(text: str) -> str:
    """A file's own words, which may be anything, as an error can show them."""
    shown = " ".join(text.split())[:ITEM_LIMIT]
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown
    )
