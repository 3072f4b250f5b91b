"""Learned embeddings for discovery: maps, nearest neighbours, compounds beside genetic targets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from perturbkit.core.condition import conditions_of
from perturbkit.core.errors import ConfigError
from perturbkit.core.features import Features
from perturbkit.core.files import atomic_path
from perturbkit.core.responses import Responses
from perturbkit.core.run import Run
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.models.lpm import Lpm
from perturbkit.models.lpm_embeddings import embedding_table
from perturbkit.recipes.fitted import Fitted
from perturbkit.report.figures import MODEL, draw, shorten

Which = Literal["perturbation", "context", "readout"]
_AT_ONCE = 1000
_LABELLED = 60
"""names written into a map at most"""


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors of unit length whose inner product is the cosine, averaged over the members."""

    names: Vocabulary
    unit_nd: np.ndarray
    """float32; the members side by side"""

    def map(self) -> np.ndarray:
        """Return two coordinates of each name: the leading principal components, [n, 2]."""
        centred = self.unit_nd - self.unit_nd.mean(0)
        left, size, _ = np.linalg.svd(centred, full_matrices=False)
        n = min(2, len(size))
        flat = np.zeros((len(self.names), 2), np.float32)
        flat[:, :n] = left[:, :n] * size[:n]
        peak = np.take_along_axis(flat, np.abs(flat).argmax(0)[None], 0)
        return flat * np.where(peak < 0, -1, 1)  # signs are free: the largest is positive

    def nearest(self, rows: np.ndarray, among: np.ndarray, k: int) -> pl.DataFrame:
        """Return the `k` names of `among` nearest to each of `rows`, itself left out.

        Columns: name, neighbour, rank (from 1), cosine.
        """
        parts = []
        for start in range(0, len(rows), _AT_ONCE):
            asked = rows[start : start + _AT_ONCE]
            cosine = self.unit_nd[asked] @ self.unit_nd[among].T
            cosine[asked[:, None] == among] = -np.inf
            n = min(k, int(np.isfinite(cosine).sum(1).min(initial=len(among))))
            order = np.argsort(-cosine, 1, kind="stable")[:, :n]
            parts.append(pl.DataFrame({
                "name": [self.names[int(i)] for i in asked.repeat(n)],
                "neighbour": [self.names[int(among[j])] for j in order.ravel()],
                "rank": np.tile(np.arange(1, n + 1), len(asked)),
                "cosine": np.take_along_axis(cosine, order, 1).ravel(),
            }))  # fmt: skip
        return pl.concat(parts) if parts else pl.DataFrame()


def joined(members: list[Features]) -> Embedding:
    """Put the members' vectors of unit length side by side."""
    sizes = [np.linalg.norm(m.values, axis=1, keepdims=True) for m in members]
    units = [m.values / np.maximum(s, 1e-12) for m, s in zip(members, sizes, strict=True)]
    whole = np.hstack(units) / np.sqrt(len(members))
    return Embedding(members[0].names, whole.astype(np.float32))


def embedding_of(fitted: Fitted, which: Which) -> Embedding:
    """Return what the members of a run have learned of perturbations, contexts or readouts.

    Raises:
        ConfigError: the run's model learns no embeddings.
    """
    if not all(isinstance(m, Lpm) for m in fitted.members):
        kind = fitted.run.config["model"]["kind"]
        message = f"{kind} learns no embeddings; fit lpm, then perturbkit embed"
        raise ConfigError(message)
    return joined([embedding_table(m, which) for m in fitted.members])


def write_embeddings(run: str | Path | Run, out: Path, k: int = 10) -> dict[str, int]:
    """Write maps, vectors, neighbours and, where both exist, compounds beside genetic targets.

    Args:
        run: a finished run of the LPM.
        out: the folder: `perturbation.csv`, `context.csv` and `readout.csv` with coordinates x and
            y and the vectors; `neighbours.csv`; `mechanisms.csv`; `perturbation.svg`.
        k: neighbours of each perturbation.

    Returns:
        Rows of each table.
    """
    fitted = Fitted.open(run)
    tables: dict[str, pl.DataFrame] = {}
    kinds = _kinds(fitted.run)
    whiches: tuple[Which, ...] = ("perturbation", "context", "readout")
    for which in whiches:
        found = embedding_of(fitted, which)
        x, y = found.map().T
        about: dict[str, Any] = {"name": list(found.names), "x": x, "y": y}
        if which == "perturbation":
            about["kind"] = [kinds.get(n, "unknown") for n in found.names]
            tables |= _neighbours(found, np.array(about["kind"]), k)
        vectors = {f"d{i}": found.unit_nd[:, i] for i in range(found.unit_nd.shape[1])}
        tables[which] = pl.DataFrame(about | vectors)
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        with atomic_path(out / f"{name}.csv") as temporary:
            table.write_csv(temporary)
    with atomic_path(out / "perturbation.svg") as temporary:
        temporary.write_text(picture(tables["perturbation"]), encoding="utf-8")
    return {name: table.height for name, table in tables.items()}


def _neighbours(found: Embedding, kind: np.ndarray, k: int) -> dict[str, pl.DataFrame]:
    every = np.arange(len(found.names))
    tables = {"neighbours": found.nearest(every, every, k)}
    compounds = np.flatnonzero(kind == "drug")
    genes = np.flatnonzero(np.isin(kind, ["crispri", "crispra", "ko", "oe"]))
    if len(compounds) and len(genes):
        tables["mechanisms"] = found.nearest(compounds, genes, k)
    return tables


def _kinds(run: Run) -> dict[str, str]:
    """Return how each target was perturbed, the first kind met."""
    truth = Responses.load(run.path / "truth.parquet")
    kinds: dict[str, str] = {}
    for condition in conditions_of(truth.conditions):
        for target in condition.targets:
            kinds.setdefault(target, condition.kind)
    return kinds


def picture(table: pl.DataFrame) -> str:
    """Draw the map of perturbations; the farthest from the middle have their names."""
    x, y = table["x"].to_numpy(), table["y"].to_numpy()

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(x, y, "o", color=MODEL, markersize=3, alpha=0.6)
        far = np.argsort(-np.hypot(x - x.mean(), y - y.mean()))[:_LABELLED]
        for i in far:
            axes.annotate(shorten(table["name"][int(i)], 14), (x[i], y[i]), fontsize=6)
        axes.set_xlabel("first component")
        axes.set_ylabel("second component")

    return draw(6.0, 5.0, plot)
