"""The network of the transition model: how each cell of a control set moves."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from perturbkit.core.rng import torch_generator
from perturbkit.models.nn.condition_rows import condition_vectors
from perturbkit.models.nn.graph import linear
from perturbkit.models.nn.perturbation import PerturbationEncoder
from perturbkit.models.nn.transformer import SetTransformer


class TransitionNet(nn.Module):
    """Change of each cell's mean: what the condition brings, plus a transformer over the set.

    Args:
        encoder: turns conditions into vectors; its width is that of the cells' vectors.
        sizes: `n_readouts`, `n_contexts`, `n_heads`, `d_hid`, `n_layers`, `rank`.
        dropout: share of hidden values set to zero while training.
        rng: initialises the weights.
        confidence: whether a token of each set foretells its loss.
        counts: whether there is a law of the counts, `count_law`.
    """

    control_kg: Tensor
    scale: Tensor

    def __init__(
        self,
        encoder: PerturbationEncoder,
        sizes: Mapping[str, int],
        dropout: float,
        rng: np.random.Generator,
        *,
        confidence: bool,
        counts: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.confidence = encoder, confidence
        generator, d, g = torch_generator(rng), encoder.width, sizes["n_readouts"]
        self.from_cell = nn.Sequential(linear(g, d, generator), nn.GELU(), linear(d, d, generator))
        self.from_change = linear(g, d, generator)
        self.transformer = SetTransformer(
            d, sizes["n_heads"], sizes["d_hid"], sizes["n_layers"], rng, dropout=dropout
        )
        self.token = nn.Parameter(torch.randn(d, generator=generator) * d**-0.5)
        self.foretell = linear(d, 1, generator)
        self.to_rank = linear(d, sizes["rank"], generator)
        self.to_readouts = linear(sizes["rank"], g, generator)
        nn.init.zeros_(self.to_readouts.weight)  # the network's part starts at zero
        # falls start as scaling, so that no value goes below zero; rises in between
        self.mix_down = nn.Parameter(torch.full((g,), 3.0))
        self.mix_up = nn.Parameter(torch.full((g,), 1.0))
        self.log_share = nn.Parameter(torch.zeros(g)) if counts else None
        self.log_dispersion = nn.Parameter(torch.zeros(g)) if counts else None
        self.register_buffer("control_kg", torch.zeros(sizes["n_contexts"], g))
        self.register_buffer("scale", torch.ones(1))

    def forward(
        self, x_bsg: Tensor, mask_bs: Tensor, rows: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Return the change of each cell's mean [b, s, g], and the loss foretold of each set.

        Args:
            x_bsg: control cells in sets, log values.
            mask_bs: which cells are there.
            rows: each set's condition, first axis b: `targets` [b, k] and `n_targets`, `dose_um`,
                `time_h`, `kind`, `change` [b, g] of the closed form, `context`, and `adds`:
                whether the network's part counts.
        """
        vector = condition_vectors(self.encoder, rows)
        vector = vector + self.from_change(rows["change"] / self.scale)
        centred = x_bsg - self.control_kg[rows["context"]][:, None]
        hidden = self.from_cell(centred) + vector[:, None]
        if self.confidence:
            first = (self.token + vector)[:, None].to(hidden.dtype)
            hidden = torch.cat([first, hidden], 1)
            mask_bs = functional.pad(mask_bs, (1, 0), value=True)
        out = self.transformer(hidden, None if bool(mask_bs.all()) else mask_bs)
        foretold = None
        if self.confidence:
            foretold = functional.softplus(self.foretell(out[:, 0].detach()))[:, 0].float()
            out = out[:, 1:]
        own = self.to_readouts(self.to_rank(out)).float() * self.scale
        own = own * rows["adds"].to(own)[:, None, None]
        return own + rows["change"][:, None], foretold

    def move(self, x_bsg: Tensor, change_bsg: Tensor, context_b: Tensor) -> Tensor:
        """Return the cells after the change of their mean, [b, s, g].

        x + D (a x / m + 1 - a): the mean moves by D, whether by scaling what is there (a = 1) or
        by a shift of all cells (a = 0), with a learned for each readout, for falls and for rises.
        """
        mean = self.control_kg[context_b][:, None]
        mix = torch.where(change_bsg < 0, self.mix_down, self.mix_up).sigmoid()
        # what is silent in the control can only be shifted
        mix = mix * (mean > 1e-3)
        return x_bsg + change_bsg * (mix * x_bsg / mean.clamp_min(1e-3) + 1 - mix)

    @torch.no_grad()
    def start_counts(self, x_ng: np.ndarray, dispersion_g: np.ndarray) -> None:
        """Begin the law of the counts at control cells (log1p values) and their dispersions."""
        assert self.log_share is not None
        assert self.log_dispersion is not None
        linear = torch.from_numpy(np.expm1(x_ng))
        share = linear.mean(0) / linear.sum(1).mean()
        level = torch.from_numpy(x_ng).mean(0).clamp_min(1e-4).expm1()
        self.log_share.copy_((share.clamp_min(1e-7) / level).log())
        self.log_dispersion.copy_(torch.from_numpy(dispersion_g).log())

    def count_law(
        self, change_bsg: Tensor, mask_bs: Tensor, context_b: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return each set's expected shares of molecules [b, g], and dispersions [g].

        A readout's share is in proportion to expm1 of its mean log value after the change.
        """
        assert self.log_share is not None
        assert self.log_dispersion is not None
        here = mask_bs.to(change_bsg)[..., None] / mask_bs.sum(1)[:, None, None]
        level = (self.control_kg[context_b] + (change_bsg * here).sum(1)).clamp_min(1e-4)
        return level.expm1() * self.log_share.exp(), self.log_dispersion.exp()

    def dispersion(self) -> np.ndarray | None:
        """Return the dispersions learnt with the law of the counts, [g]; None without one."""
        if self.log_dispersion is None:
            return None
        return self.log_dispersion.detach().exp().cpu().numpy()


def padded(x_ng: Tensor, set_of: Tensor) -> tuple[Tensor, Tensor]:
    """Return sets side by side, [sets, largest, g], and which cells are there.

    Args:
        x_ng: cells, set after set.
        set_of: the set of each, ascending from 0.
    """
    sizes = torch.bincount(set_of)
    within = torch.arange(len(set_of), device=set_of.device) - (sizes.cumsum(0) - sizes)[set_of]
    shape = (len(sizes), int(sizes.max()))
    out = x_ng.new_zeros(*shape, x_ng.shape[1])
    out[set_of, within] = x_ng
    mask = torch.zeros(shape, dtype=torch.bool, device=x_ng.device)
    mask[set_of, within] = True
    return out, mask
