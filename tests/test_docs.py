"""What the docs say of the code is what the code says of itself."""

import importlib.util
import re
from pathlib import Path

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


def test_the_commands_of_the_readme_exist() -> None:
    from perturbkit.cli.main import app

    known = {c.name for c in app.registered_commands} | {g.name for g in app.registered_groups}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^perturbkit (\w+)", text, re.MULTILINE))
    assert named <= known, named - known
