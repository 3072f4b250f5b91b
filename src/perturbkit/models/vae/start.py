"""What an autoencoder of cells takes from the training cells before it is trained."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from perturbkit.core.errors import SchemaError
from perturbkit.core.rng import torch_generator
from perturbkit.models.cells import CellData
from perturbkit.models.vae.networks import initialize
from perturbkit.models.vae.totals import Totals

if TYPE_CHECKING:
    from perturbkit.models.vae.model import CellVae


def learn_scales(model: "CellVae", cells: CellData, rng: np.random.Generator) -> None:
    """Set what is no parameter: scales, totals, fixed draws; draw the networks' weights.

    Raises:
        SchemaError: the likelihood is for counts and the cells are none.
    """
    generator = torch_generator(rng)
    counts = model.likelihood.counts
    if model.store_unit != "counts" and counts:
        message = (
            f"the cells are in {model.store_unit} and the likelihood is for counts; "
            "take likelihood gaussian, or give the counts"
        )
        raise SchemaError(message)
    model.totals = Totals.of(cells, model.contexts, counts=counts)
    few = np.sort(rng.permutation(cells.train_n)[:4096])
    seen = model.transformed(torch.from_numpy(cells.store.dense(few)))
    model.centre.copy_(seen.mean(0))
    model.spread.copy_(seen.std(0, correction=0).clamp_min(0.05))
    model.draws.normal_(generator=generator)
    _count_cells(model, cells)
    with torch.no_grad():
        initialize(model.encoder, generator)
        initialize(model.decoder, generator)
        mean = model.totals.sum_cg.sum(0) / max(float(model.totals.size_cb.sum()), 1.0)
        start = np.log(np.maximum(mean, 1e-7)) if counts else mean
        model.decoder.out.bias.copy_(torch.from_numpy(start))
    if model.artefact is not None:
        model.artefact.learn(cells, rng)


def _count_cells(model: "CellVae", cells: CellData) -> None:
    """Count the training cells of each target: its variables are theirs in common."""
    code = cells.store.arrays["condition"][cells.train_n]
    n_c = torch.from_numpy(np.bincount(code, minlength=cells.store.conditions.height))
    rows = model.encode(cells.store.conditions)
    present = rows["targets"] >= 0
    which = rows["targets"][present]
    trained = which < model.targets.n_trained
    amount = n_c[:, None].expand(present.shape)[present][trained].float()
    model.cells_of_target.zero_().index_add_(0, which[trained], amount)
    model.cells_of_target.clamp_(min=1.0)
