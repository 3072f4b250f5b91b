"""A Gaussian process by BoTorch: a length for each component, members drawn as whole functions."""

import warnings

import numpy as np

from perturbkit.core.errors import MissingExtraError
from perturbkit.design.knowledge import Knowledge, standard
from perturbkit.design.surrogate.card import SurrogateCard, observed

N_MEMBERS, N_COMPONENTS, N_STEPS = 16, 16, 40


def fit(knowledge: Knowledge, outcome_c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return sixteen functions drawn from the posterior, jointly over the pool, [16, c].

    Hyper-parameters by marginal likelihood under BoTorch's own priors; draws by Matheron's rule,
    so that a member is one function over all conditions and not noise at each.

    Raises:
        MissingExtraError: BoTorch is not installed.
    """
    rows, y = observed(outcome_c)
    if len(rows) < 2 or y.std() == 0:
        return np.full((N_MEMBERS, len(outcome_c)), y.mean() if len(rows) else 0.0)
    with warnings.catch_warnings():
        # theirs: deprecations at import, and that forty steps are not convergence, which is meant
        warnings.simplefilter("ignore")
        drawn = _draws(components(knowledge), rows, standard(y), int(rng.integers(2**31)))
    return y.mean() + y.std() * drawn


def _draws(x_cd: np.ndarray, rows: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    try:
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.sampling.pathwise import draw_matheron_paths
        from botorch.utils.sampling import manual_seed
        from gpytorch.mlls import ExactMarginalLogLikelihood
    except ImportError as error:
        message = "botorch_gp needs BoTorch, which is not installed: pip install perturbkit[bo]"
        raise MissingExtraError(message) from error
    import torch

    with manual_seed(seed):
        seen, target = torch.from_numpy(x_cd[rows]), torch.from_numpy(y[:, None])
        model = SingleTaskGP(seen, target, outcome_transform=None)
        likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
        fit_gpytorch_mll(likelihood, optimizer_kwargs={"options": {"maxiter": N_STEPS}})
        with torch.no_grad():
            paths = draw_matheron_paths(model, sample_shape=torch.Size([N_MEMBERS]))
            blocks = [paths(b).squeeze(-1).numpy() for b in torch.from_numpy(x_cd).split(4096)]
    return np.concatenate(blocks, 1)


def components(knowledge: Knowledge) -> np.ndarray:
    """Return the leading components and the prior, each scaled to [0, 1], float64 [c, d]."""
    x = knowledge.places_cd[:, -N_COMPONENTS:].astype(np.float64)
    x = np.concatenate([x, knowledge.prior_c[:, None]], 1)
    low, high = x.min(0), x.max(0)
    return (x - low) / np.maximum(high - low, 1e-12)


card = SurrogateCard(
    name="botorch_gp",
    summary="Gaussian process by BoTorch on the leading components of the features",
    source="Balandat et al. 2020 (arXiv:1910.06403); Wilson et al. 2020 (pathwise draws)",
    fn=fit,
    by_chance=True,
)
