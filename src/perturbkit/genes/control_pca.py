"""Co-expression in control cells: genes that vary together when nothing is perturbed."""

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.sparse.linalg import svds

from perturbkit.core.condition import CONTROL
from perturbkit.core.config import Config
from perturbkit.core.errors import SchemaError
from perturbkit.core.features import Features
from perturbkit.core.screen import Screen
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.genes.card import EmbeddingCard, fixed_signs


class ControlPcaConfig(Config):
    """Settings of the co-expression embedding."""

    width: int = Field(default=32, ge=1)
    """how many principal components"""
    max_cells: int = Field(default=20_000, ge=3)
    """at most so many control rows, drawn at random"""


def control_features(
    screen: Screen, config: ControlPcaConfig, rng: np.random.Generator
) -> Features:
    """Return each gene's loadings on the principal components of control rows, times their spread.

    Genes are standardised, so that the product of two genes' vectors approximates their
    correlation. No perturbed cell is looked at. Genes that do not vary are missing.

    Raises:
        SchemaError: fewer than three control rows.
    """
    rows = np.flatnonzero((screen.adata.obs["perturbation"] == CONTROL).to_numpy())
    if len(rows) < 3:
        message = (
            f"{len(rows)} control rows; co-expression of controls needs at least 3: "
            "use cells rather than profiles, or another embedding"
        )
        raise SchemaError(message)
    rows = np.sort(rng.choice(rows, config.max_cells, replace=False)) \
        if len(rows) > config.max_cells else rows  # fmt: skip
    x = screen.adata.X[rows]
    x_ng = np.asarray(x.toarray() if sparse.issparse(x) else x, np.float64)
    if screen.unit == "counts":
        x_ng = np.log1p(1e4 * x_ng / np.maximum(x_ng.sum(1, keepdims=True), 1))
    x_ng = x_ng[:, :] - np.nanmean(x_ng, axis=0)
    x_ng = np.nan_to_num(x_ng)
    spread = x_ng.std(0)
    has = spread > 1e-9
    z_ng = x_ng[:, has] / spread[has] / np.sqrt(len(rows))
    width = min(config.width, min(z_ng.shape) - 1)
    if width < 1:
        message = "fewer than two readouts vary among the controls; use another embedding"
        raise SchemaError(message)
    _, s, vt = svds(z_ng, k=width, v0=rng.normal(size=min(z_ng.shape)))
    order = np.argsort(-s)
    names = np.array(screen.readouts.names, dtype=object)
    x_gd = fixed_signs(vt[order].T) * s[order]
    return Features(Vocabulary(names[has], "gene"), x_gd, "control PCA", tuple(names[~has]))


card = EmbeddingCard(
    name="control_pca",
    summary="principal components of genes over control cells: co-expression without perturbation",
    source="PCA of standardised log expression of controls",
    fn=control_features,
    config=ControlPcaConfig,
    takes="screen",
)
