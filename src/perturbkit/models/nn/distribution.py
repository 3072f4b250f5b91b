"""Distances between sets of cells as losses: energy, Sinkhorn, MMD, Wasserstein, KL, counts.

Sets are `[..., n, d]` with an optional mask `[..., n]` (True: the cell is there), so that sets of
different sizes share a batch without a cell being repeated. Results have the leading shape.
"""

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-12


def distances(x_nd: Tensor, y_md: Tensor) -> Tensor:
    """Return Euclidean distances of all pairs, [..., n, m]; the gradient at 0 is 0."""
    return _square(x_nd, y_md).clamp_min(_TINY).sqrt()


def _square(x_nd: Tensor, y_md: Tensor) -> Tensor:
    # distances do not feel a shift, but the rounding of large norms does; bfloat16 loses them
    with torch.autocast(x_nd.device.type, enabled=False):
        centre = y_md.detach().float().mean(-2, keepdim=True)
        x, y = x_nd.float() - centre, y_md.float() - centre
        norms = x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :]
        return (norms - 2 * x @ y.transpose(-1, -2)).clamp_min(0)


def _weights(x_nd: Tensor, mask_n: Tensor | None) -> Tensor:
    """Return equal weights of the cells that are there, [..., n], of sum 1."""
    if mask_n is None:
        return x_nd.new_full(x_nd.shape[:-1], 1 / x_nd.shape[-2], dtype=torch.float32)
    here = mask_n.float()
    return here / here.sum(-1, keepdim=True).clamp_min(1)


def _mean_between(d_nm: Tensor, a_n: Tensor, b_m: Tensor) -> Tensor:
    return (d_nm * a_n[..., :, None] * b_m[..., None, :]).sum((-1, -2))


def _mean_within(d_nn: Tensor, a_n: Tensor, *, distinct: bool) -> Tensor:
    mean = _mean_between(d_nn - torch.diag_embed(d_nn.diagonal(dim1=-2, dim2=-1)), a_n, a_n)
    if distinct:
        mean = mean / (1 - a_n.square().sum(-1)).clamp_min(_TINY)
    return mean


def energy_distance(
    x_nd: Tensor,
    y_md: Tensor,
    x_mask: Tensor | None = None,
    y_mask: Tensor | None = None,
    *,
    distinct: bool = False,
) -> Tensor:
    """Return 2 E|X - Y| - E|X - X'| - E|Y - Y'|.

    Args:
        x_nd: one set, [..., n, d].
        y_md: the other, [..., m, d].
        x_mask: which cells are there, [..., n].
        y_mask: which cells are there, [..., m].
        distinct: means within a set over distinct pairs. Then two samples of one distribution
            are 0 apart on average, and a set gains nothing by contracting; it can be below 0.

    Source:
        Szekely & Rizzo 2013, doi:10.1016/j.jspi.2013.03.018.
    """
    a, b = _weights(x_nd, x_mask), _weights(y_md, y_mask)
    between = _mean_between(distances(x_nd, y_md), a, b)
    within_x = _mean_within(distances(x_nd, x_nd), a, distinct=distinct)
    within_y = _mean_within(distances(y_md, y_md), b, distinct=distinct)
    return 2 * between - within_x - within_y


def mmd(
    x_nd: Tensor,
    y_md: Tensor,
    x_mask: Tensor | None = None,
    y_mask: Tensor | None = None,
    *,
    scales: tuple[float, ...] = (0.5, 1.0, 2.0),
) -> Tensor:
    """Return the squared maximum mean discrepancy under a mean of Gaussian kernels, all pairs.

    Args:
        x_nd: one set, [..., n, d].
        y_md: the other, [..., m, d]; the mean squared distance within it sets the bandwidth.
        x_mask: which cells are there, [..., n].
        y_mask: which cells are there, [..., m].
        scales: bandwidths, as multiples of it.

    Source:
        Gretton et al. 2012, JMLR 13:723, equation 5.
    """
    a, b = _weights(x_nd, x_mask), _weights(y_md, y_mask)
    xx, yy, xy = _square(x_nd, x_nd), _square(y_md, y_md), _square(x_nd, y_md)
    width = _mean_within(yy, b, distinct=True).detach().clamp_min(_TINY)[..., None, None]

    def kernel(square: Tensor) -> Tensor:
        return torch.stack([torch.exp(-square / (s * width)) for s in scales]).mean(0)

    means = [_mean_between(kernel(d), p, q) for d, p, q in ((xx, a, a), (yy, b, b), (xy, a, b))]
    return means[0] + means[1] - 2 * means[2]


def sinkhorn_divergence(
    x_nd: Tensor,
    y_md: Tensor,
    x_mask: Tensor | None = None,
    y_mask: Tensor | None = None,
    *,
    blur: float = 0.05,
    n_steps: int = 50,
) -> Tensor:
    """Return the debiased entropic transport cost under |x - y|^2 / 2; 0 for the same set.

    The gradient flows through the costs at the optimal plan (envelope theorem), not through the
    iterations.

    Args:
        x_nd: one set, [..., n, d].
        y_md: the other, [..., m, d].
        x_mask: which cells are there, [..., n].
        y_mask: which cells are there, [..., m].
        blur: square root of the entropy's weight, as a multiple of the sets' mean distance.
        n_steps: iterations; the entropy's weight falls over the first half of them.

    Source:
        Feydy et al. 2019, arXiv:1810.08278.
    """
    a, b = _weights(x_nd, x_mask), _weights(y_md, y_mask)
    cost = _square(x_nd, y_md) / 2
    scale = _mean_between(cost, a, b).detach().clamp_min(_TINY)
    final = (blur**2 * 2 * scale)[..., None]
    top = scale[..., None]
    parts = []
    for d, p, q in ((cost, a, b), (_square(x_nd, x_nd) / 2, a, a), (_square(y_md, y_md) / 2, b, b)):
        f, g, entropy = _potentials(d.detach(), p, q, (top, final), n_steps)
        plan = torch.exp((f[..., :, None] + g[..., None, :] - d.detach()) / entropy[..., None])
        plan = plan * p[..., :, None] * q[..., None, :]
        # the dual value, with the gradient that the costs have under the fixed plan
        value = (f * p).sum(-1) + (g * q).sum(-1)
        parts.append(value + (plan * (d - d.detach())).sum((-1, -2)))
    return parts[0] - (parts[1] + parts[2]) / 2


@torch.no_grad()
def _potentials(
    cost_nm: Tensor, a_n: Tensor, b_m: Tensor, span: tuple[Tensor, Tensor], n_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the dual potentials and the last weight of the entropy, [..., 1]."""
    top, final = span
    log_a, log_b = a_n.clamp_min(1e-30).log(), b_m.clamp_min(1e-30).log()
    f, g = torch.zeros_like(a_n), torch.zeros_like(b_m)
    entropy = top
    for step in range(n_steps):
        share = min(1.0, 2 * step / max(1, n_steps))
        entropy = torch.maximum(top * (final / top) ** share, final)
        f_new = _soft_min(cost_nm, g, log_b, entropy)
        g_new = _soft_min(cost_nm.transpose(-1, -2), f, log_a, entropy)
        # averaged updates converge for symmetric problems too
        f, g = (f + f_new) / 2, (g + g_new) / 2
    f = _soft_min(cost_nm, g, log_b, entropy)
    g = _soft_min(cost_nm.transpose(-1, -2), f, log_a, entropy)
    return f, g, entropy


def _soft_min(cost_nm: Tensor, g_m: Tensor, log_b: Tensor, entropy: Tensor) -> Tensor:
    inner = log_b[..., None, :] + (g_m[..., None, :] - cost_nm) / entropy[..., None]
    return -entropy * inner.logsumexp(-1)


def wasserstein_genes(x_ng: Tensor, y_ng: Tensor) -> Tensor:
    """Return the first Wasserstein distance of each gene's values over cells, averaged.

    Args:
        x_ng: [..., n, g].
        y_ng: as many cells, [..., n, g].
    """
    return (x_ng.sort(-2).values - y_ng.sort(-2).values).abs().mean((-1, -2))


def profile_kl(predicted_ng: Tensor, target_ng: Tensor) -> Tensor:
    """Return KL(target || predicted) of each cell's softmax over genes, averaged over cells."""
    p, q = target_ng.log_softmax(-1), predicted_ng.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).mean(-1)


def tabular_energy(predicted_ng: Tensor, target_ng: Tensor) -> Tensor:
    """Return the energy distance of the rows (cells) plus that of the columns (genes).

    Both are divided by the square root of their width, so that neither grows with the table.

    Source:
        the 'tabular' loss of STATE's embedding model, from its description.
    """
    n, g = predicted_ng.shape[-2:]
    rows = energy_distance(predicted_ng, target_ng) / g**0.5
    columns = energy_distance(predicted_ng.transpose(-1, -2), target_ng.transpose(-1, -2))
    return rows + columns / n**0.5


def negative_binomial_nll(count: Tensor, mean: Tensor, dispersion: Tensor) -> Tensor:
    """Return -log P(count) where the variance is mean + dispersion mean^2, elementwise.

    Args:
        count: whole numbers of at least 0.
        mean: above 0.
        dispersion: above 0.
    """
    r = 1 / dispersion.clamp_min(1e-6)
    log_total = torch.log(r + mean)
    return -(
        torch.lgamma(count + r) - torch.lgamma(r) - torch.lgamma(count + 1)
        + r * (torch.log(r) - log_total) + count * (torch.log(mean.clamp_min(_TINY)) - log_total)
    )  # fmt: skip


def detection_loss(logit: Tensor, value: Tensor) -> Tensor:
    """Return the mean cross-entropy of 'the gene was seen in this cell'."""
    return functional.binary_cross_entropy_with_logits(logit, (value > 0).to(logit.dtype))
