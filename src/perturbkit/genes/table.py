"""Vectors from files: .npy, .pt, .safetensors, .parquet, .h5 and word2vec text."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from perturbkit.core.config import Config
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.features import Features
from perturbkit.core.files import existing
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.genes.card import EmbeddingCard

SIDECARS = ("{stem}.names.txt", "{stem}_names.txt", "{stem}_names.npy", "gene_names.npy",
            "{stem}_gene_names.npy")  # fmt: skip
"""Where the names of the rows of a matrix are looked for."""


class TableConfig(Config):
    """Settings of vectors from a file."""

    names: tuple[str, ...] = ()
    """only these; the others are not read where the format allows; empty: all"""
    names_file: str = ""
    """text (a name on each line) or .npy with the names of a matrix' rows"""
    width: int = Field(default=0, ge=0)
    """refuse vectors of another length; 0: any"""
    label: str = ""
    """what reports call them; empty: the file's name"""


def table_features(path: str | Path, config: TableConfig, rng: np.random.Generator) -> Features:
    """Read vectors by name; what is asked for and not there is listed as missing.

    Matrices (.npy, .h5) stay on disk until used, and of .pt and .safetensors only the rows asked
    for are copied. No format may hold code: pickled objects are refused.

    Args:
        path: the file; its suffix says the format.
        config: the settings.
        rng: not used; every embedding takes one.

    Raises:
        FileError: missing, damaged, pickled, or of an unknown format.
        SchemaError: names and rows differ in number, repeat, or vectors differ in length.
    """
    path = existing(path, "embedding file")
    readers = {".npy": _npy, ".pt": _pt, ".pth": _pt, ".safetensors": _safetensors,
               ".parquet": _parquet, ".h5": _h5, ".hdf5": _h5, ".txt": _text}  # fmt: skip
    if path.suffix not in readers:
        message = f"{path} is of the format {path.suffix!r}; {', '.join(readers)} can be read"
        raise FileError(message)
    wanted = list(dict.fromkeys(config.names))
    found, values = readers[path.suffix](path, wanted, config)
    if values.ndim != 2 or len(found) != len(values):
        message = (
            f"{path}: {len(found):,} names for an array of shape {tuple(values.shape)}; "
            "a row of numbers is needed for each name"
        )
        raise SchemaError(message)
    if config.width and values.shape[1] != config.width:
        message = f"{path} has vectors of length {values.shape[1]}; {config.width} are expected"
        raise SchemaError(message)
    here = set(found)
    missing = tuple(n for n in wanted if n not in here)
    return Features(Vocabulary(found, "gene"), values, config.label or path.stem, missing)


def _chosen(names: Sequence[str], wanted: list[str]) -> tuple[list[str], np.ndarray | slice]:
    """Return the names to keep and their rows; a slice, so that a memory map stays one."""
    if not wanted:
        return list(names), slice(None)
    where = Vocabulary(names, "gene").index_of
    kept = [n for n in wanted if n in where]
    return kept, np.array([where[n] for n in kept], np.int64)


def _names_beside(path: Path, config: TableConfig) -> list[str]:
    places = [Path(config.names_file)] if config.names_file else [
        path.with_name(s.format(stem=path.stem)) for s in SIDECARS
    ]  # fmt: skip
    for place in places:
        if place.exists():
            if place.suffix == ".npy":
                return [str(n) for n in _load_npy(place)]
            return [n.strip() for n in place.read_text(encoding="utf-8").splitlines() if n.strip()]
    message = (
        f"{path} holds no names; put {places[0].name} beside it, a name on each line, "
        "or state names_file"
    )
    raise FileError(message)


def _load_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        message = (
            f"{path} is not a plain .npy array ({error}); it may be cut short or hold pickled "
            "objects, which are never loaded: save it with allow_pickle=False"
        )
        raise FileError(message) from error


def _npy(path: Path, wanted: list[str], config: TableConfig) -> tuple[list[str], np.ndarray]:
    values = _load_npy(path)
    names = _names_beside(path, config)
    if len(names) != len(values):
        return names, values
    kept, rows = _chosen(names, wanted)
    return kept, values[rows]


def _pt(path: Path, wanted: list[str], config: TableConfig) -> tuple[list[str], np.ndarray]:
    import pickle
    import warnings
    import zipfile

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # only the rows asked for are then read from the disk
            mapped = zipfile.is_zipfile(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        message = (
            f"{path} cannot be read as tensors alone ({str(error).splitlines()[0][:160]}); it is "
            "damaged or holds code, which is never loaded: save a dictionary of tensors"
        )
        raise FileError(message) from error
    if isinstance(content, torch.Tensor):
        values = content.float().numpy()
        kept, rows = _chosen(_names_beside(path, config), wanted)
        return kept, values[rows]
    if isinstance(content, dict) and {"names", "values"} <= set(content):
        kept, rows = _chosen([str(n) for n in content["names"]], wanted)
        return kept, content["values"].float().numpy()[rows]
    if isinstance(content, dict) and all(isinstance(v, torch.Tensor) for v in content.values()):
        return _stacked({str(k): v for k, v in content.items()}, wanted, path)
    message = f"{path} holds {type(content).__name__}; a dictionary from name to tensor is needed"
    raise SchemaError(message)


def _stacked(table: dict[str, Any], wanted: list[str], path: Path) -> tuple[list[str], np.ndarray]:
    kept = [n for n in wanted if n in table] if wanted else list(table)
    shapes = {tuple(table[n].shape) for n in kept}
    if len(shapes) > 1 or any(len(s) != 1 for s in shapes):
        message = f"{path} has vectors of the shapes {sorted(shapes)[:4]}; all need one length"
        raise SchemaError(message)
    width = next(iter(shapes))[0] if shapes else 0
    values = np.empty((len(kept), width), np.float32)
    for i, name in enumerate(kept):
        values[i] = table[name].float().numpy()
    return kept, values


def _safetensors(
    path: Path, wanted: list[str], config: TableConfig
) -> tuple[list[str], np.ndarray]:
    import json

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            about = file.metadata() or {}
            if "values" in keys:
                names = json.loads(about["names"]) if "names" in about \
                    else _names_beside(path, config)  # fmt: skip
                kept, rows = _chosen([str(n) for n in names], wanted)
                return kept, file.get_tensor("values").float().numpy()[rows]
            chosen = [n for n in wanted if n in set(keys)] if wanted else keys
            return _stacked({n: file.get_tensor(n) for n in chosen}, [], path)
    except (SafetensorError, json.JSONDecodeError) as error:
        message = f"{path} is not a whole safetensors file ({error}); write it again"
        raise FileError(message) from error


def _parquet(path: Path, wanted: list[str], config: TableConfig) -> tuple[list[str], np.ndarray]:
    try:
        scan = pl.scan_parquet(path)
        schema = scan.collect_schema()
        texts = [n for n, t in schema.items() if t == pl.String]
        if not texts:
            message = f"{path} has no text column; name the genes in one"
            raise SchemaError(message)
        rows = scan.filter(pl.col(texts[0]).is_in(wanted)) if wanted else scan
        table = rows.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        message = f"{path} is not a whole parquet file ({error}); write it again"
        raise FileError(message) from error
    nested = [n for n, t in schema.items() if isinstance(t, (pl.List, pl.Array))]
    names = [str(n) for n in table[texts[0]]]
    if nested:
        lengths = table[nested[0]].cast(pl.List(pl.Float32)).list.len().unique()
        if len(lengths) > 1:
            message = f"{path} has vectors of {len(lengths)} different lengths; all need one"
            raise SchemaError(message)
        flat = table[nested[0]].cast(pl.List(pl.Float32)).explode(empty_as_null=False).to_numpy()
        return names, flat.reshape(len(names), -1)
    numbers = [n for n, t in schema.items() if t.is_numeric()]
    return names, table.select(pl.col(numbers).cast(pl.Float32)).to_numpy()


def _h5(path: Path, wanted: list[str], config: TableConfig) -> tuple[list[str], np.ndarray]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            absent = [n for n in ("names", "values") if n not in file]
            if absent:
                message = (
                    f"{path} holds {', '.join(file) or 'nothing'}; it needs the data sets "
                    "names (text) and values (a row for each)"
                )
                raise SchemaError(message)
            names = [n.decode() if isinstance(n, bytes) else str(n) for n in file["names"][:]]
            values = file["values"]
            if values.ndim != 2 or len(names) != len(values):
                return names, np.empty(values.shape, np.float32)
            kept, rows = _chosen(names, wanted)
            if isinstance(rows, slice):
                return kept, values[:].astype(np.float32)
            order = np.argsort(rows)
            chosen = np.empty((len(kept), values.shape[1]), np.float32)
            chosen[order] = values[rows[order]]
            return kept, chosen
    except OSError as error:
        if isinstance(error, FileError):
            raise
        message = f"{path} is not a whole HDF5 file ({error}); write it again"
        raise FileError(message) from error


def _text(path: Path, wanted: list[str], config: TableConfig) -> tuple[list[str], np.ndarray]:
    """Read `name number number ...` lines; a first line of two whole numbers is skipped."""
    asked, names, rows, width = set(wanted), [], [], 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            name, *parts = line.split()[:1] + line.split()[1:]
            if number == 1 and len(parts) == 1 and name.isdigit():
                continue
            width = width or len(parts)
            if len(parts) != width or not width:
                message = (
                    f"{path}, line {number} has {len(parts)} numbers, the first has {width}; "
                    "the file may be cut short"
                )
                raise SchemaError(message)
            if not asked or name in asked:
                names.append(name)
                rows.append(_numbers(parts, path, number))
    values = np.array(rows, np.float32).reshape(len(rows), width)
    return names, values


def _numbers(parts: Iterable[str], path: Path, number: int) -> list[float]:
    try:
        return [float(p) for p in parts]
    except ValueError as error:
        message = f"{path}, line {number}: {error}; after the name a line has numbers only"
        raise SchemaError(message) from error


class Esm2Config(TableConfig):
    """ESM2 15B means of a protein's residues."""

    width: int = 5120
    label: str = "ESM2"


class Gene2vecConfig(TableConfig):
    """gene2vec, from co-expression in GEO."""

    width: int = 200
    label: str = "gene2vec"


class GeneptConfig(TableConfig):
    """GenePT, from summaries of genes read by a language model."""

    width: int = 1536
    label: str = "GenePT"


class ScgptConfig(TableConfig):
    """Gene tokens of scGPT."""

    width: int = 512
    label: str = "scGPT"


def _card(name: str, summary: str, source: str, config: type[TableConfig]) -> EmbeddingCard:
    return EmbeddingCard(
        name=name, summary=summary, source=source, fn=table_features, config=config, takes="file"
    )


table = _card(
    "table", "vectors from .npy, .pt, .safetensors, .parquet, .h5 or text", "your file", TableConfig
)
esm2 = _card(
    "esm2", "protein language model, 5,120 numbers for each gene",
    "Lin 2023, doi:10.1126/science.ade2574; the table STATE ships", Esm2Config,
)  # fmt: skip
gene2vec = _card(
    "gene2vec", "co-expression in 984 data sets of GEO, 200 numbers for each gene",
    "Du 2019, doi:10.1186/s12864-018-5370-x", Gene2vecConfig,
)  # fmt: skip
genept = _card(
    "genept", "text embeddings of NCBI gene summaries, 1,536 numbers for each gene",
    "Chen & Zou 2024, doi:10.1038/s41551-024-01284-6", GeneptConfig,
)  # fmt: skip
scgpt = _card(
    "scgpt", "gene tokens of scGPT, 512 numbers for each gene",
    "Cui 2024, doi:10.1038/s41592-024-02201-0", ScgptConfig,
)  # fmt: skip
