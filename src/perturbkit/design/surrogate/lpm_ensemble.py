"""An ensemble of small Large Perturbation Models, genes described by the features."""

import numpy as np
import polars as pl

from perturbkit.core.features import Features
from perturbkit.core.responses import Responses
from perturbkit.core.rng import torch_generator
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.design.knowledge import Knowledge, standard
from perturbkit.design.surrogate.card import SurrogateCard, observed

N_MEMBERS, N_STEPS, BATCH, RATE, DECAY = 4, 80, 64, 3e-3, 0.1


def fit(knowledge: Knowledge, outcome_c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the predictions of four models that differ in start and batches, [4, c].

    The outcome is the one readout. A gene that was not measured is seen through its features.
    """
    rows, y = observed(outcome_c)
    if len(rows) < 2 or y.std() == 0:
        return np.full((N_MEMBERS, len(outcome_c)), y.mean() if len(rows) else 0.0)
    names = [f"g{i}" for i in range(len(outcome_c))]
    table = np.concatenate([knowledge.places_cd, knowledge.prior_c[:, None]], 1)
    values = (table / np.maximum(table.std(0), 1e-9)).astype(np.float32)
    features = Features(Vocabulary(names, "gene"), values)
    seen = pl.DataFrame({"perturbation": [names[i] for i in rows], "status": "measured"})
    train = Responses(standard(y).astype(np.float32)[None, :, None], seen,
                      Vocabulary(["outcome"], "readout"), "score")  # fmt: skip
    pool = pl.DataFrame({"perturbation": names})
    drawn = [_member(train, features, pool, rng) for _ in range(N_MEMBERS)]
    return y.mean() + y.std() * np.stack(drawn)


def _member(
    train: Responses, features: Features, pool: pl.DataFrame, rng: np.random.Generator
) -> np.ndarray:
    import torch

    from perturbkit.models.block import Block
    from perturbkit.models.lpm import Lpm, LpmConfig

    config = LpmConfig(embedding_dim=16, hidden_dim=32, n_layers=1, base="none",
                       identity_dropout=0.7)  # fmt: skip
    model = Lpm.build(config, train, features, rng)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    encoded = model.encode(train.conditions)
    targets = torch.from_numpy(model.training_values(train, rng, held_out=False))
    column, generator = torch.zeros(1, dtype=torch.int64), torch_generator(rng)
    model.train()
    # what the model hides while training comes from torch's own generator
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(int(rng.integers(2**63)))
        for _ in range(N_STEPS):
            some = torch.randint(len(targets), (BATCH,), generator=generator)
            batch = Block({k: v[some] for k, v in encoded.items()}, column, targets[some])
            optimiser.zero_grad()
            model.loss(batch).backward()
            optimiser.step()
    model.eval()
    return model.predict(pool).mean_cg[:, 0].astype(np.float64)


card = SurrogateCard(
    name="lpm_ensemble",
    summary="four small Large Perturbation Models that see genes through the features",
    source="Miladinovic et al. 2025, doi:10.1038/s43588-025-00870-1; Lakshminarayanan et al. 2017",
    fn=fit,
    by_chance=True,
)
