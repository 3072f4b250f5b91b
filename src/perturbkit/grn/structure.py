"""Structure search through causal-learn: what PC and GES share."""

from types import ModuleType

import numpy as np

from perturbkit.core.errors import MissingExtraError
from perturbkit.core.graph import Graph
from perturbkit.grn.assemble import graph_of_scores
from perturbkit.grn.expression import Rows, centred, correlations

TAIL, ARROW = -1, 1
"""How causal-learn writes the end of an edge."""
JITTER = 1e-3
"""Noise added to standardized values, so that copies of a gene do not make them singular."""


def causal_learn(module: str) -> ModuleType:
    """Return a module of causal-learn.

    Raises:
        MissingExtraError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(f"causallearn.search.{module}")
    except ImportError as error:
        message = (
            "structure search needs causal-learn, which is not installed; "
            "install it with: pip install 'perturbkit[causal]'"
        )
        raise MissingExtraError(message) from error


def varying(rows: Rows, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return standardized values of the readouts that vary, and their positions."""
    x = centred(rows)
    size = x.std(0)
    place = np.flatnonzero(size > 1e-12)
    z = x[:, place] / size[place]
    return z + JITTER * rng.standard_normal(z.shape), place


def graph_of_ends(ends_gg: np.ndarray, rows: Rows, place: np.ndarray, name: str) -> Graph:
    """Return the edges of a pattern, weighted and signed by correlation.

    The pattern says which edges there are and which have a direction; an edge without one counts
    both ways. It says nothing of their strength: correlations rank them.

    Args:
        ends_gg: the ends as causal-learn writes them: [i, j] = -1 and [j, i] = 1 is i -> j.
        rows: the screen's values.
        place: position of each node among the readouts.
        name: the method.
    """
    into = (ends_gg.T == ARROW) & (ends_gg == TAIL)
    both = (ends_gg == TAIL) & (ends_gg.T == TAIL) | (ends_gg == ARROW) & (ends_gg.T == ARROW)
    score = np.zeros((len(rows.readouts), len(rows.readouts)))
    r = correlations(centred(rows))
    # an edge without any correlation is an edge all the same
    strength = np.where(r == 0, 1e-6, r)[np.ix_(place, place)]
    score[np.ix_(place, place)] = np.where(into | both, strength, 0.0)
    return graph_of_scores(score, rows.readouts, rows.readouts, name=name)
