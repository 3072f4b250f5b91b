"""Compound fingerprints from SMILES, by RDKit (extra `chem`)."""

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from perturbkit.core.config import Config
from perturbkit.core.errors import MissingExtraError, SchemaError
from perturbkit.core.features import Features
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.genes.card import EmbeddingCard


class FingerprintConfig(Config):
    """Settings of Morgan fingerprints."""

    width: int = Field(default=1024, ge=8)
    """number of bits"""
    radius: int = Field(default=2, ge=0)
    """how many bonds around each atom count"""
    counts: bool = False
    """how often each part occurs rather than whether it does"""


def fingerprint_features(
    smiles: Mapping[str, str], config: FingerprintConfig, rng: np.random.Generator
) -> Features:
    """Return the Morgan fingerprint of each compound; empty SMILES are missing.

    Args:
        smiles: SMILES by compound.
        config: the settings.
        rng: not used; every embedding takes one.

    Raises:
        SchemaError: SMILES that describe no molecule, with the compound's name.
        MissingExtraError: RDKit is not installed.
    """
    try:
        from rdkit import Chem, RDLogger  # pyright: ignore[reportMissingImports]
        from rdkit.Chem import rdFingerprintGenerator  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        message = "fingerprints need RDKit; pip install 'perturbkit[chem]'"
        raise MissingExtraError(message) from error
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=config.radius, fpSize=config.width)
    RDLogger.DisableLog("rdApp.*")
    names, rows, missing = [], [], []
    try:
        for name, text in smiles.items():
            if not text or not text.strip():
                missing.append(name)
                continue
            molecule = Chem.MolFromSmiles(text)
            if molecule is None:
                message = (
                    f"compound {name!r}: {text[:60]!r} is not valid SMILES; correct or empty it"
                )
                raise SchemaError(message)
            names.append(name)
            rows.append(
                generator.GetCountFingerprintAsNumPy(molecule) if config.counts
                else generator.GetFingerprintAsNumPy(molecule)
            )  # fmt: skip
    finally:
        RDLogger.EnableLog("rdApp.error")
    x_gd = np.array(rows, np.float32).reshape(len(rows), config.width)
    return Features(Vocabulary(names, "compound"), x_gd, "Morgan fingerprints", tuple(missing))


card = EmbeddingCard(
    name="fingerprints",
    summary="Morgan fingerprints of compounds from SMILES",
    source="Rogers & Hahn 2010, doi:10.1021/ci100050t; RDKit",
    fn=fingerprint_features,
    config=FingerprintConfig,
    takes="smiles",
)
