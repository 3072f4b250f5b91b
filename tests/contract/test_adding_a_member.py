"""A new metric is one new file and one import line; shown in a copy of the package."""

import shutil
import subprocess
import sys
from pathlib import Path

import perturbkit

METRIC = '''"""Largest absolute error of each condition."""

import numpy as np

from perturbkit.metrics.card import MetricCard, Pair


def largest_error(pair: Pair) -> np.ndarray:
    """Largest absolute difference; 0 is perfect."""
    return np.nanmax(np.abs(pair.predicted_cg - pair.truth_cg), 1)


card = MetricCard(
    name="largest_error", summary="largest absolute error", source="definition",
    fn=largest_error, better="lower", best=0.0, bounds=(0.0, np.inf),
)
'''
METRIC_LINE = "from perturbkit.metrics.largest_error import card as largest_error\n"
USE_METRIC = """
import numpy as np, polars as pl
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.metrics import METRICS
from perturbkit.metrics.score import score
rows = [("control", "a"), ("x", "a"), ("y", "a")]
table = pl.DataFrame(rows, schema=["perturbation", "context"], orient="row")
values = np.random.default_rng(0).gamma(2.0, 1.0, (1, 3, 30))
truth = Responses(values, table, Vocabulary([f"g{i}" for i in range(30)]), "log1p_cp10k")
moved = Responses(values + 0.5, table, truth.readouts, "log1p_cp10k")
print(METRICS["largest_error"].summary)
found = score(truth, {"m": moved}, train=None, rng=np.random.default_rng(0)).table
print(round(found.filter(metric="largest_error")["value"].item(), 3))
"""


def copy_of_package(folder: Path) -> Path:
    source = Path(perturbkit.__file__).parent
    return Path(
        shutil.copytree(source, folder / "perturbkit", ignore=shutil.ignore_patterns("__pycache__"))
    )


def run(folder: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def add_import(init: Path, line: str) -> None:
    """Put one line above the one that collects the family."""
    head, catalogue, tail = init.read_text().rpartition(" = Catalog(")
    start = head.rfind("\n") + 1
    init.write_text(head[:start] + line + head[start:] + catalogue + tail)


def test_a_metric_is_one_file_and_one_line(tmp_path: Path) -> None:
    package = copy_of_package(tmp_path)
    (package / "metrics" / "largest_error.py").write_text(METRIC)
    add_import(package / "metrics" / "__init__.py", METRIC_LINE)
    assert run(tmp_path, USE_METRIC).split("\n")[:2] == ["largest absolute error", "0.5"]
