"""What the family of network inference methods promises: the card."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from perturbkit.core.catalog import Card
from perturbkit.core.graph import Graph
from perturbkit.core.screen import Screen


@dataclass(frozen=True, kw_only=True)
class GrnCard(Card):
    """A way to infer a network from a screen."""

    fn: Callable[[Screen, np.random.Generator], Graph]
    """`(screen, rng) -> Graph`; nodes are the readouts and the perturbed targets"""
    directed: bool = True
    """whether an edge says which gene regulates which"""
    interventional: bool = True
    """whether it uses what was perturbed"""
    imputes: bool = False
    """whether it predicts perturbations that were never made; what it says of them is a guess"""
    calibrated: bool = False
    """whether its edges carry `probability` and `fdr`"""
    max_genes: int | None = None
    """the largest number of genes it can take, where it has a limit"""
