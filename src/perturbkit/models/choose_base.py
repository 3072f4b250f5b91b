"""Which closed form a network stands on, and how far slopes on it are trusted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from perturbkit.core.responses import Responses
from perturbkit.models.applies import why_not
from perturbkit.models.base import BASES, Base, are_combinations, fit_base
from perturbkit.models.slopes import Slopes
from perturbkit.models.trust import helps, mean_square

SLOPE_SHARES = (0.25, 0.5, 0.75, 1.0)
"""how far slopes may go from 1"""
USUAL_SLOPES = 0.5
"""how far they go where no conditions are left to choose on"""
_FEWEST_COMBINATIONS = 4
"""combinations in the training set below which they have no base of their own"""
_SLOW = {"cross_context_stack": 1500}
"""`auto` leaves these out beyond so many conditions: cross-fitting refits a base five times"""


@dataclass(frozen=True, eq=False)
class ChosenBase:
    """A base, and what it misses of the conditions it was fitted on when it has not seen them."""

    plain: Base
    """without slopes"""
    train: Responses
    """the conditions it was fitted on, controls included"""
    plain_missed_cg: np.ndarray
    """cross-fitted residual of `plain` on `train`, float32"""
    slope_share: float = 0.0
    """how far a slope for each readout goes from 1, which is to take predictions as they are.

    All the way is too far: the cross-fitted predictions of other conditions were fitted on the very
    values that a slope is judged by (docs/log/op3.md)."""

    @classmethod
    def choose(cls, kinds: Sequence[str], train: Responses, rng: np.random.Generator) -> Self:
        """Fit the closed forms named, `auto` for all that apply; keep the one that errs least.

        Args:
            kinds: which.
            train: measured conditions, controls included.
            rng: draws the folds of the cross-fitting.
        """
        seed = int(rng.integers(2**63))
        found = []
        for name in _applicable(train) if "auto" in kinds else kinds:
            base = fit_base(name, train, rng)
            found.append((base, base.crossfitted_residual(train, np.random.default_rng(seed))))
        base, missed = _mixed(found, are_combinations(train.conditions), train)
        return cls(base, train, missed)

    @cached_property
    def _slopes(self) -> Slopes:
        return Slopes.fit(self.train, self.train.mean_cg - self.plain_missed_cg)

    @cached_property
    def base(self) -> Base:
        """The base with its slopes."""
        if self.slope_share == 0:
            return self.plain
        return replace(self.plain, slopes=self._slopes.at(self.slope_share))

    @cached_property
    def missed_cg(self) -> np.ndarray:
        """What the base with its slopes misses of `train`, cross-fitted, float32."""
        if self.slope_share == 0:
            return self.plain_missed_cg
        said = self.train.mean_cg - self.plain_missed_cg
        slopes = self._slopes.at(self.slope_share)
        return self.train.mean_cg - slopes.apply(said, self.train.contexts, ~self.train.is_control)

    def with_slopes(self, share: float) -> Self:
        """Return the base with slopes that go this share of the way from 1."""
        return replace(self, slope_share=share if self.plain.model is not None else 0.0)

    def weighed(self, val: Responses) -> Self:
        """Return the base with the slopes that predict `val` best, none unless it clearly gains.

        Args:
            val: measured conditions that the base was not fitted on.
        """
        values, status = self.plain.predict(val.conditions)
        use = ~val.is_control & (status != "refused")
        all_of_them = np.ones(int(use.sum()), bool)

        def errors(share: float) -> np.ndarray:
            said = self._slopes.at(share).apply(values[use], val.contexts[use], all_of_them)
            return mean_square(val.mean_cg[use] - said)

        plain = errors(0.0)
        found = {share: errors(share) for share in SLOPE_SHARES}
        clear = [share for share, error in found.items() if helps(plain, error)]
        best = min(clear, key=lambda share: float(np.nanmean(found[share])), default=0.0)
        return self.with_slopes(best)


def _mixed(
    found: list[tuple[Base, np.ndarray]], combined: np.ndarray, train: Responses
) -> tuple[Base, np.ndarray]:
    """Return the base that errs least, and for combinations the one that errs least on these."""

    def best(rows: np.ndarray) -> tuple[Base, np.ndarray]:
        return min(found, key=lambda one: float(np.nanmean(np.square(one[1][rows]))))

    alone = ~train.is_control & ~combined
    base, residual = best(alone if alone.any() else combined)
    if len(found) < 2 or combined.sum() < _FEWEST_COMBINATIONS or not alone.any():
        return base, residual
    other, missed = best(combined)
    if other is base:
        return base, residual
    residual = np.where(combined[:, None], missed, residual)
    return replace(base, for_combinations=other), residual


def _applicable(train: Responses) -> list[str]:
    """Return the closed-form models that can say more than the context's mean here."""
    n = len(train.keys)
    return [
        name for name, card in BASES.items()
        if n <= _SLOW.get(name, n) and not why_not(card, train)
    ]  # fmt: skip
