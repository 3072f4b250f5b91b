"""The reverse question: which perturbations bring about a response?"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from perturbkit.core.errors import SchemaError
from perturbkit.core.files import existing
from perturbkit.core.responses import Responses
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.read.contrasts import FOLDS, GENES

_CHANGES = ("change", "delta", "effect")
_FEW = 20
"""readouts below which it says little that all rise"""


@dataclass(frozen=True, eq=False)
class Response:
    """A change that is to be explained: readouts and by how much each moved."""

    readouts: Vocabulary
    """names of the readouts"""
    change_g: np.ndarray
    """the change, in any unit that grows with the effect; NaN is not measured"""

    def __post_init__(self) -> None:
        if len(self.change_g) != len(self.readouts):
            message = (
                f"{len(self.change_g)} changes for {len(self.readouts)} readouts; give one each"
            )
            raise SchemaError(message)

    @property
    def all_rise(self) -> bool:
        """Whether no readout falls, as where a level was given in place of a change."""
        known = self.change_g[np.isfinite(self.change_g)]
        return len(known) >= _FEW and bool((known >= 0).all())


def read_response(path: str) -> Response:
    """Read a table with a column of genes and one of changes, such as one contrast of any tool.

    Raises:
        SchemaError: the columns are not there or several could be meant, or a gene repeats.
    """
    separator = "\t" if str(path).endswith((".tsv", ".txt")) else ","
    table = pl.read_csv(existing(path, "response file"), separator=separator)
    names = next((c for c in (*GENES, "name") if c in table.columns), None)
    numbers = [c for c, t in table.schema.items() if t.is_numeric()]
    change = next((c for c in (*FOLDS, *_CHANGES) if c in numbers), None)
    if change is None and len(numbers) == 1:
        change = numbers[0]
    if names is None or change is None:
        message = (
            f"{path} has the columns {', '.join(table.columns)}; needed are 'gene' and one of "
            "numbers, the change of each gene from state A to state B, called 'change' where "
            "there are other numbers beside it"
        )
        raise SchemaError(message)
    genes = Vocabulary(table[names].cast(pl.String), "gene")
    return Response(genes, table[change].cast(pl.Float64).to_numpy())


def regulators(
    responses: Responses,
    response: Response,
    rng: np.random.Generator,
    *,
    n_bootstrap: int = 200,
    own: bool = True,
) -> pl.DataFrame:
    """Rank perturbations by how well their response explains a change, in direction and size.

    The score is the cosine between the two, each readout weighted by the inverse of its noise or,
    without halves, of its spread over all perturbations, after removal of the response that all
    perturbations share. Its uncertainty is a bootstrap over readouts: `probability_best` is the
    share of resamples that a perturbation wins. `scale` is how much of its response would be
    needed; a negative score says that the opposite perturbation is meant.

    Args:
        responses: measured or predicted responses, controls among them where the unit needs it.
        response: the change that is to be explained.
        rng: draws the bootstrap.
        n_bootstrap: resamples of readouts.
        own: whether a perturbation's own target counts as a readout.

    Returns:
        `perturbation`, `context`, `score`, `low`, `high` (95 %), `probability_best`, `scale`,
        `n_readouts`; best first.

    Raises:
        SchemaError: fewer than three readouts in common.
    """
    shared = [r for r in response.readouts if r in responses.readouts.index_of]
    if len(shared) < 3:
        message = (
            f"{len(shared)} of the response's {len(response.readouts)} readouts are among the "
            f"{len(responses.readouts)} of the screen; at least 3 are needed: check the gene names"
        )
        raise SchemaError(message)
    kept = responses.select(~responses.is_control)
    delta = responses.delta_cg()[~responses.is_control][:, responses.readouts.encode(shared)]
    delta = np.nan_to_num(delta.astype(np.float64))
    change = np.nan_to_num(response.change_g[response.readouts.encode(shared)].astype(np.float64))
    noise = _noise(responses, kept, shared, delta)
    x, y = (delta - np.median(delta, 0)) / noise, change / noise
    if not own:
        x, mask = _without_own(x, kept, shared)
    else:
        mask = np.ones_like(x)
    score = _cosine(x, y, mask, np.ones((1, len(y))))[0]
    picks = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=n_bootstrap).astype(float)
    boot = _cosine(x, y, mask, picks)
    low, high = np.quantile(boot, [0.025, 0.975], axis=0)
    wins = np.bincount(boot.argmax(1), minlength=len(score)) / n_bootstrap
    size = np.einsum("cg,cg->c", x, x)
    scale = np.divide(x @ y, size, out=np.zeros_like(size), where=size > 0)
    return pl.DataFrame({
        "perturbation": kept.conditions["perturbation"], "context": kept.conditions["context"],
        "score": score, "low": low, "high": high, "probability_best": wins, "scale": scale,
        "n_readouts": [len(shared)] * len(score),
    }).sort("score", descending=True)  # fmt: skip


def _noise(
    responses: Responses, kept: Responses, shared: list[str], delta_cg: np.ndarray
) -> np.ndarray:
    """Return the standard deviation that each readout is divided by, positive."""
    index = responses.readouts.encode(shared)
    if kept.halves is not None:
        difference = (kept.halves[0] - kept.halves[1])[:, index].astype(np.float64)
        noise = np.sqrt(np.nanmean(difference**2, 0)) / 2
    else:
        noise = 1.4826 * np.median(np.abs(delta_cg - np.median(delta_cg, 0)), 0)
    typical = float(np.nanmedian(noise[noise > 0])) if (noise > 0).any() else 1.0
    return np.nan_to_num(noise, nan=typical) + 0.5 * typical


def _without_own(
    x_cg: np.ndarray, kept: Responses, shared: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Zero each perturbation's own targets, and return which entries count."""
    from perturbkit.core.condition import conditions_of

    place = {name: i for i, name in enumerate(shared)}
    mask = np.ones_like(x_cg)
    for row, condition in enumerate(conditions_of(kept.conditions)):
        for target in condition.targets:
            if target in place:
                mask[row, place[target]] = 0.0
    return x_cg * mask, mask


def _cosine(x_cg: np.ndarray, y_g: np.ndarray, mask_cg: np.ndarray, w_bg: np.ndarray) -> np.ndarray:
    """Return weighted cosines [b, c] of each row with y over what counts."""
    dot = w_bg @ (x_cg * y_g).T
    size = np.sqrt((w_bg @ (x_cg**2).T) * (w_bg @ (mask_cg * y_g**2).T))
    return np.divide(dot, size, out=np.zeros_like(dot), where=size > 0)


def identification(truth: list[str], ranked: list[list[str]], k: int = 5) -> dict[str, float]:
    """Return how high the true perturbation ranks: recall at 1 and k, mean reciprocal rank.

    Args:
        truth: the true perturbation of each response.
        ranked: for each response the perturbations, best first.
        k: the rank that still counts for recall.
    """
    rank = np.array([r.index(t) + 1 if t in r else np.inf
                     for t, r in zip(truth, ranked, strict=True)])  # fmt: skip
    return {
        "recall_at_1": float((rank <= 1).mean()),
        f"recall_at_{k}": float((rank <= k).mean()),
        "mean_reciprocal_rank": float((1 / rank).mean()),
    }
