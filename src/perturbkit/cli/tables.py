"""Tables on the terminal."""

import sys
from typing import Any


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as a table; tab-separated below `# title` where the output is no terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        return
    columns = list(rows[0])
    if not sys.stdout.isatty():
        lines = [
            f"# {title}",
            "\t".join(columns),
            *("\t".join(_text(row[c]) for c in columns) for row in rows),
        ]
        sys.stdout.write("\n".join(lines) + "\n")
        return
    table = Table(title=escape(title), title_justify="left")
    for column in columns:
        numeric = all(isinstance(row[column], int | float) for row in rows)
        table.add_column(escape(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_text(row[c])) for c in columns))
    Console().print(table)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
