"""Tables as lines of cells, the headings first, for a terminal and for Markdown."""

from __future__ import annotations

import numbers
import re
from collections.abc import Iterable
from typing import Any

Table = Iterable[tuple[Any, ...]]


def terminal(table: Table, title: str = "") -> Any:
    """For rich; no more than its title where there are no lines."""
    from rich.table import Column
    from rich.table import Table as RichTable
    from rich.text import Text

    lines = list(table)
    if not lines:
        return Text(f"\n{title}\n")
    headings = (Column(Text(one), overflow="fold") for one in lines[0])
    shown = RichTable(*headings, title=Text(title) if title else None)
    for line in lines[1:]:
        shown.add_row(*(Text(cell(one), STYLES.get(cell(one), "")) for one in line))
    return shown


def markdown(table: Table, title: str = "") -> str:
    """The same as Markdown, figures to the right."""
    lines = [[cell(one).replace("|", "\\|") for one in line] for line in table]
    if not lines:
        return f"{title}\n"
    columns = zip(*lines[1:], strict=True)
    rule = ["---:" if all(map(FIGURE.match, column)) else "---" for column in columns]
    text = "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])
    return f"{title}\n\n{text}\n" if title else f"{text}\n"


FIGURE = re.compile(r"[-+]?\d|–$|nan$|-?inf$")
STYLES = {"yes": "green", "no": "red"}


def cell(value: Any) -> str:
    """Whole numbers with commas, others to four digits, yes or no; – where there is none."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case numbers.Integral():
            return f"{int(value):,}"
        case numbers.Real():
            return f"{float(value):.4g}"
    return str(value)
