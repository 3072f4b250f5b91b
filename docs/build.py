"""Write docs/catalogue.md from the cards: `python -m docs.build`."""

from pathlib import Path

from perturbkit.recipes.families import members

HEAD = """# Catalogue

Every member of every family, from its card. Written by `make docs`; do not edit by hand.
"""


def catalogue() -> str:
    """Return the page."""
    parts = [HEAD]
    for family, rows in members().items():
        parts.append(f"\n## {family}\n\n| name | what it is | source |\n|---|---|---|\n")
        parts += [
            f"| `{r['name']}` | {_cell(r['summary'])} | {_cell(r['source'])} |\n" for r in rows
        ]
    return "".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(__file__).with_name("catalogue.md").write_text(catalogue(), encoding="utf-8")
