"""What the docs say of the code is what the code says of itself."""

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from perturbkit.cli.main import app

ROOT = Path(__file__).parents[1]


def test_the_catalogue_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    page = (ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")
    assert page == build.catalogue(), "the cards changed: run `make docs`"


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if not target.startswith(("http", "mailto")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_benchmark_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs" / "benchmarks").glob("*.md"):
        assert f"benchmarks/{page.name}" in index, page.name


def _written_commands() -> list[tuple[str, str]]:
    """Return every command that the README and the docs write, with its page."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        inline = re.findall(r"`(perturbkit [a-z][^`]*)`", text)
        blocks = re.findall(r"^(?:\$ )?(perturbkit [a-z].*)$", "\n".join(
            re.findall(r"```(?:bash|console)\n(.*?)```", text, re.DOTALL)
        ), re.MULTILINE)  # fmt: skip
        found += [(page.name, " ".join(c.split("#")[0].split())) for c in inline + blocks]
    return found


@pytest.mark.parametrize(("page", "written"), _written_commands())
def test_written_commands_and_their_options_exist(page: str, written: str) -> None:
    words = shlex.split(written)[1:]
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):  # a group
        name = words.pop(0) if words and words[0] in command.commands else None
        if name is None:
            assert command.name == "explain" or not words, f"{page}: no command {written!r}"
            if not words:
                return
            name = "network"
        command = command.commands[name]
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    used = {w.split("=")[0] for w in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", w)}
    assert used <= known, f"{page}: {written!r} uses {sorted(used - known)}"
