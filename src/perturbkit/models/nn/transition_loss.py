"""What compares the cells that a transition predicts with the cells measured, set by set."""

from functools import partial

from torch import Tensor

from perturbkit.models.nn.distribution import (
    energy_distance,
    mmd,
    negative_binomial_nll,
    sinkhorn_divergence,
)

_DISTANCES = {
    "energy": partial(energy_distance, distinct=True),
    "sinkhorn": sinkhorn_divergence,
    "mmd": mmd,
}


def set_distance(kind: str, moved_bsg: Tensor, truth_bsg: Tensor, mask_bs: Tensor) -> Tensor:
    """Return the distance of each predicted set from the measured one, per readout's root, [b].

    Args:
        kind: `energy`, `sinkhorn` or `mmd`.
        moved_bsg: predicted cells.
        truth_bsg: measured cells, as many.
        mask_bs: which cells are there.
    """
    distance = _DISTANCES[kind](moved_bsg, truth_bsg, mask_bs, mask_bs)
    return distance / truth_bsg.shape[-1] ** 0.5


def count_loss(
    count_bsg: Tensor, mask_bs: Tensor, share_bg: Tensor, dispersion_g: Tensor
) -> Tensor:
    """Return the mean negative-binomial -log P of each set's counts, [b].

    Args:
        count_bsg: measured molecules.
        mask_bs: which cells are there.
        share_bg: the share of a cell's molecules that each readout is expected to have.
        dispersion_g: variance is mean + dispersion mean^2.
    """
    mean = count_bsg.sum(-1, keepdim=True) * share_bg[:, None]
    cost = negative_binomial_nll(count_bsg, mean.clamp_min(1e-6), dispersion_g).mean(-1)
    return (cost * mask_bs).sum(1) / mask_bs.sum(1)
