"""The Virtual Cell Challenge: submissions written and read without other tools, scaled scores."""

import io
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from perturbkit.core.errors import FileError, MissingExtraError, SchemaError, UnitError
from perturbkit.core.files import atomic_path, existing
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.read.h5ad import read_adata

if TYPE_CHECKING:
    from types import ModuleType

N_GENES = 18_080
MAX_CELLS = 200_000
MAX_LOG = 15.0
"""The official tool refuses fractional values from here on: raw and logged cells mixed."""
MAX_BYTES = 64 * 2**30
"""A submission that unpacks to more is refused while it unpacks."""
CONTROL_LABEL = "non-targeting"
TARGET_COLUMN = "target_gene"
INNER, WATERMARK, WATERMARK_TEXT = "pred.h5ad.zst", "watermark.txt", b"vcc-prep"

BASELINES = {"overlap_at_N": 0.106, "discrimination_score_l1": 0.514, "mae": 0.027}
"""What the challenge's mean baseline scored on its validation set: DES, PDS and MAE."""
LOWER_IS_BETTER = frozenset({"expr_mse_norm", "lfc_nmae"})
CLIPPED = "expr_mse_norm"
MAX_LIBRARY = 1e6
"""Counts of one cell beyond which the official tool of 2026 refuses."""
BEST = {"overlap_at_N": 1.0, "discrimination_score_l1": 1.0, "mae": 0.0}


def scaled_score(
    values: Mapping[str, float], baselines: Mapping[str, float] = BASELINES, *, clip: bool = False
) -> dict[str, float]:
    """Scale each member so that the baseline is 0 and perfect is 1, and average them.

    Args:
        values: DES (`overlap_at_N`), PDS (`discrimination_score_l1`) and `mae`.
        baselines: what to scale by.
        clip: whether members below the baseline count as 0 and missing ones too, as the challenge
            has it. Not clipping is the default: a floor makes a bad MAE free.

    Returns:
        The members and their mean, `score`, times 100 each.

    Raises:
        SchemaError: a member is missing or its baseline is already perfect.
    """
    missing = [name for name in BEST if name not in values or name not in baselines]
    if missing:
        message = f"the scaled score needs {', '.join(BEST)}; {missing[0]} is missing"
        raise SchemaError(message)
    scaled = {}
    for name, best in BEST.items():
        if baselines[name] == best:
            message = f"the baseline's {name} is already perfect; nothing can be scaled by it"
            raise SchemaError(message)
        part = (values[name] - baselines[name]) / (best - baselines[name])
        scaled[name] = 100 * (float(np.nan_to_num(max(part, 0.0))) if clip else float(part))
    return scaled | {"score": float(np.mean(list(scaled.values())))}


def replicate_score(
    values: Mapping[str, float], baselines: Mapping[str, float], replicates: Mapping[str, float]
) -> dict[str, float]:
    """Scale each member so that the mean response is 0 and a replicate is 1, and average them.

    Nothing is clipped but the relative squared error, whose scaled value lies between 0 and 1.

    Args:
        values: the members.
        baselines: what the mean response scores.
        replicates: what one half of the measured cells scores against the other.

    Returns:
        The members and their mean, `score`, times 100 each; NaN where a replicate is no better
        than the mean response.

    Source:
        Virtual Cell Challenge 2026 (cell-eval2 0.20.0).
    """
    scaled = {}
    for name, value in values.items():
        span = replicates[name] - baselines[name]
        sign = -1 if name in LOWER_IS_BETTER else 1
        part = (value - baselines[name]) / span if sign * span > 0 else float("nan")
        scaled[name] = 100 * float(np.clip(part, 0, 1) if name == CLIPPED else part)
    return scaled | {"score": float(np.mean(list(scaled.values())))}


def write_submission(
    adata: ad.AnnData,
    path: str | Path,
    *,
    genes: Sequence[str],
    perturbation: str = TARGET_COLUMN,
    control: str = CONTROL_LABEL,
    max_cells: int = MAX_CELLS,
    n_genes: int = N_GENES,
) -> None:
    """Write predicted cells as a `.prep.vcc`: float32 CSR, genes in order, packed with zstandard.

    Args:
        adata: predicted cells, log-normalized, or counts, which are then normalized.
        path: the file to write.
        genes: the genes of the challenge in order.
        perturbation: the column of `obs` with each cell's target.
        control: the label of control cells there.
        max_cells: the most cells allowed.
        n_genes: the number of genes expected.

    Raises:
        SchemaError: other genes, too many cells, no control, no such column.
        UnitError: values that are neither counts nor log-normalized.
        MissingExtraError: zstandard is not installed.
    """
    zstandard = _zstandard()
    genes = [str(g) for g in genes]
    _check_shape(adata, genes, perturbation, control, max_cells, n_genes)
    at = Vocabulary(adata.var_names, "gene").encode(genes)
    matrix = sparse.csr_matrix(adata.X[:, at], dtype=np.float32)
    matrix = log_normalized(matrix, "the predictions", total=None)
    labels = adata.obs[perturbation].astype(str).to_numpy()
    minimal = ad.AnnData(
        X=matrix,
        obs=pd.DataFrame(
            {TARGET_COLUMN: pd.Categorical(np.where(labels == control, CONTROL_LABEL, labels))},
            index=np.arange(len(labels)).astype(str),
        ),
        var=pd.DataFrame(index=pd.Index(genes)),
    )
    with atomic_path(path) as temporary, tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "pred.h5ad", Path(folder) / INNER
        minimal.write_h5ad(plain)
        with plain.open("rb") as source, packed.open("wb") as target:
            zstandard.ZstdCompressor().copy_stream(source, target)
        with tarfile.open(temporary, "w") as archive:
            archive.add(packed, INNER)
            stamp = tarfile.TarInfo(WATERMARK)
            stamp.size = len(WATERMARK_TEXT)
            archive.addfile(stamp, io.BytesIO(WATERMARK_TEXT))


def read_submission(path: str | Path) -> ad.AnnData:
    """Read a `.prep.vcc` (or `.vcc`) into memory; nothing of the archive is trusted.

    Raises:
        FileError: not such an archive, cut short, too large, or without the challenge's mark.
        MissingExtraError: zstandard is not installed.
    """
    zstandard, file = _zstandard(), existing(path, "submission")
    try:
        with tarfile.open(file) as archive, tempfile.TemporaryDirectory() as folder:
            members = {m.name.removeprefix("./"): m for m in archive.getmembers() if m.isfile()}
            if INNER not in members or WATERMARK not in members:
                found = ", ".join(sorted(members)) or "no file"
                message = (
                    f"{file} holds {found}; a submission holds {INNER} and {WATERMARK}: prepare it "
                    "again"
                )
                raise FileError(message)
            packed = archive.extractfile(members[INNER])
            plain = Path(folder) / "pred.h5ad"
            assert packed is not None
            with zstandard.ZstdDecompressor().stream_reader(packed) as source:
                _copy_bounded(source, plain, file)
            return read_adata(plain)
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        message = f"{file} is no whole submission ({error}); copy or prepare it again"
        raise FileError(message) from error


def log_normalized(matrix: sparse.csr_matrix, whose: str, total: float | None) -> sparse.csr_matrix:
    """Return log-normalized values; whole numbers are counts and are normalized first.

    Args:
        matrix: cells by genes, float32; not changed.
        whose: how to call it in an error.
        total: what each cell sums to before the log; the median of the cells' sums by None.

    Raises:
        UnitError: negative values, or fractions too large for logs.
    """
    values = matrix.data
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if low < 0 or not np.isfinite(high):
        message = (
            f"{whose} hold values down to {low:.3g} and up to {high:.3g}; cells are counts or "
            "log-normalized, at least 0 and finite"
        )
        raise UnitError(message)
    if not values.size or has_fractions(values):
        if high >= MAX_LOG:
            message = (
                f"{whose} hold fractions and values up to {high:,.4g}: raw and logged cells are "
                "mixed, or the log is missing; take log1p of the normalized counts"
            )
            raise UnitError(message)
        return matrix
    sums = np.asarray(matrix.sum(1, dtype=np.float64)).ravel()
    goal = float(np.median(sums[sums > 0])) if total is None else total
    scale = np.divide(goal, sums, out=np.zeros_like(sums), where=sums > 0)
    logged = np.log1p(values * np.repeat(scale, np.diff(matrix.indptr)))
    return sparse.csr_matrix(
        (logged.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape
    )


def has_fractions(values: np.ndarray) -> bool:
    """Whether any value is no whole number; looks at some at a time, and stops at the first."""
    parts = (values[i : i + 2**18] for i in range(0, len(values), 2**18))
    return any((part != np.rint(part)).any() for part in parts)


def whole_counts(matrix: sparse.csr_matrix, whose: str) -> sparse.csr_matrix:
    """Return the counts, refusing what the official tool of 2026 refuses.

    Raises:
        UnitError: negative values, fractions, or a cell of more than MAX_LIBRARY counts.
    """
    values = matrix.data
    if values.size and (values.min() < 0 or not np.isfinite(values).all()):
        message = f"{whose} holds negative or infinite values; the scores of 2026 need raw counts"
        raise UnitError(message)
    if has_fractions(values):
        message = (
            f"{whose} holds fractions; the scores of 2026 need raw counts, which cannot be had "
            "back from normalized values: give whole counts, or score with --profile full"
        )
        raise UnitError(message)
    most = float(matrix.sum(1).max()) if values.size else 0.0
    if most > MAX_LIBRARY:
        message = (
            f"{whose} has a cell of {most:,.0f} counts; at most {MAX_LIBRARY:,.0f} are accepted"
        )
        raise UnitError(message)
    return matrix


def _check_shape(
    adata: ad.AnnData, genes: list[str], column: str, control: str, max_cells: int, n_genes: int
) -> None:
    """Refuse what the official tool refuses, all genes and cells counted."""
    if column not in adata.obs:
        message = (
            f"obs has no column {column!r}; it has {', '.join(map(str, adata.obs.columns))}: name "
            "the column of the perturbation"
        )
        raise SchemaError(message)
    if control not in set(adata.obs[column].astype(str)):
        message = f"no cell is labelled {control!r}; a submission needs control cells: add them"
        raise SchemaError(message)
    if len(genes) != n_genes:
        message = f"the gene list has {len(genes):,} genes and the challenge {n_genes:,}"
        raise SchemaError(message)
    missing = sorted(set(genes) - set(adata.var_names))
    extra = sorted(set(adata.var_names) - set(genes))
    if missing or extra:
        message = (
            f"{len(missing):,} genes of the challenge are missing ({', '.join(missing[:3])}) and "
            f"{len(extra):,} are not of it ({', '.join(extra[:3])}); predict exactly its genes"
        )
        raise SchemaError(message)
    if adata.n_obs > max_cells:
        message = f"found {adata.n_obs:,} cells; at most {max_cells:,} are allowed: predict fewer"
        raise SchemaError(message)


def _copy_bounded(source: Any, target: Path, file: Path) -> None:
    """Unpack at most MAX_BYTES."""
    n = 0
    with target.open("wb") as out:
        while chunk := source.read(2**20):
            n += len(chunk)
            if n > MAX_BYTES:
                message = f"{file} unpacks to more than {MAX_BYTES:,} bytes; it is refused"
                raise FileError(message)
            out.write(chunk)


def _zstandard() -> "ModuleType":
    try:
        import zstandard
    except ImportError as error:
        message = "reading and writing .vcc needs zstandard: pip install 'perturbkit[vcc]'"
        raise MissingExtraError(message) from error
    return zstandard
