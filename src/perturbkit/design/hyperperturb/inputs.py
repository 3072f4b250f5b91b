"""From the user's screen and network to what the encoder sees and what it is to predict."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from perturbkit.core.condition import conditions_of
from perturbkit.core.errors import SchemaError
from perturbkit.core.graph import Graph
from perturbkit.core.responses import Responses
from perturbkit.core.screen import Screen
from perturbkit.core.vocabulary import Vocabulary
from perturbkit.data.profiles import responses_of
from perturbkit.data.stats import cell_scales, group_stats, library_sizes
from perturbkit.models.hyperbolic import normalise_sparse

N_LOADINGS = 8
LARGEST = 8.0
"""Changes count as at most so many times their root mean square."""
LEAST_CONDITIONS = 4
TRAIN, CHOOSE, JUDGE = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Inputs:
    """A screen on a network; nodes are its readouts and its targets."""

    genes: Vocabulary
    """nodes, readouts first"""
    n_readouts: int
    x_gf: torch.Tensor
    """float32, node features"""
    adjacency: torch.Tensor
    """sparse float32 [g, g], normalised, with self-loops"""
    target_cg: sparse.csr_array
    """1 where a condition perturbs a node"""
    delta_cr: torch.Tensor
    """float32, change against control in units of `unit`; 0 where not measured"""
    known_cr: torch.Tensor
    """bool, what was measured"""
    center_r: torch.Tensor
    """float32, mean change over training conditions"""
    unit: float
    """root mean square change over training conditions"""
    role_c: np.ndarray
    """what each condition is for: TRAIN, CHOOSE (the epoch) or JUDGE"""
    labels: tuple[str, ...]
    """the perturbation of each condition"""


def prepare_inputs(
    data: Screen | Responses, graph: Graph | None, validation: float, rng: np.random.Generator
) -> Inputs:
    """Read effects, node features and the network from a screen.

    Features of a gene: its mean, spread and detection in the control cells, its degree, and how
    the training perturbations move it (mean, size, loadings on their leading components). Nothing
    comes from held-out perturbations, and nothing says what a gene itself does when perturbed.

    Args:
        data: cells, profiles, or measured responses; needs controls unless values are changes.
        graph: a prior network, directed or not; None: no edges, so genes do not share.
        validation: share of perturbations to hold out.
        rng: which.

    Raises:
        SchemaError: fewer than four perturbed conditions, or a network without any of the genes.
    """
    responses = responses_of(data) if isinstance(data, Screen) else data
    rows = np.flatnonzero(~responses.is_control)
    if len(rows) < LEAST_CONDITIONS:
        message = f"{len(rows)} perturbed conditions; HyperPerturb learns from at least four"
        raise SchemaError(message)
    delta = _changes(responses, rows)
    conditions = conditions_of(responses.conditions[rows])
    readouts = list(responses.readouts)
    more = sorted({t for c in conditions for t in c.targets} - set(readouts))
    genes = Vocabulary([*readouts, *more], "gene")
    target = _targets([c.targets for c in conditions], genes)
    role = _roles([c.perturbation for c in conditions], validation, rng)
    train = role == TRAIN
    unit = float(np.sqrt(np.nanmean(delta[train] ** 2))) or 1.0
    scaled = np.clip(delta / unit, -LARGEST, LARGEST)
    network = _network(graph, genes)
    filled = np.nan_to_num(scaled[train])
    columns = [*_control_columns(data, responses), *_moved_columns(filled)]
    inside = np.zeros((len(genes), len(columns)))
    inside[: len(readouts)] = np.stack(columns, 1)
    degree = np.log1p(np.asarray((network > 0).sum(1)).ravel())
    is_readout = np.arange(len(genes)) < len(readouts)
    x = np.column_stack([inside, degree, is_readout])
    spread = x.std(0)
    x = (x - x.mean(0)) / np.where(spread > 1e-9, spread, 1.0)
    return Inputs(
        genes=genes,
        n_readouts=len(readouts),
        x_gf=torch.from_numpy(np.clip(x, -LARGEST, LARGEST).astype(np.float32)),
        adjacency=normalise_sparse(network),
        target_cg=target,
        delta_cr=torch.from_numpy(np.nan_to_num(scaled).astype(np.float32)),
        known_cr=torch.from_numpy(np.isfinite(scaled)),
        center_r=torch.from_numpy(filled.mean(0).astype(np.float32)),
        unit=unit,
        role_c=role,
        labels=tuple(c.perturbation for c in conditions),
    )


def _changes(responses: Responses, rows: np.ndarray) -> np.ndarray:
    return responses.delta_cg()[rows].astype(np.float64)


def _targets(targets: list[tuple[str, ...]], genes: Vocabulary) -> sparse.csr_array:
    row = [i for i, t in enumerate(targets) for _ in t]
    column = genes.encode([g for t in targets for g in t])
    shape = (len(targets), len(genes))
    return sparse.csr_array((np.ones(len(row), np.float32), (row, column)), shape=shape)


def _roles(labels: list[str], validation: float, rng: np.random.Generator) -> np.ndarray:
    """Hold out whole perturbations, never one context of them: half to choose, half to judge."""
    names = sorted(set(labels))
    n_held = min(round(validation * len(names)), len(names) - 2)
    order = rng.permutation(len(names))
    role_of = dict.fromkeys(names, TRAIN)
    for i, at in enumerate(order[:n_held]):
        role_of[names[int(at)]] = JUDGE if i % 2 == 0 else CHOOSE
    return np.array([role_of[label] for label in labels], np.int64)


def _network(graph: Graph | None, genes: Vocabulary) -> sparse.csr_array:
    if graph is None:
        return sparse.csr_array((len(genes), len(genes)), dtype=np.float32)
    inside = graph.within(genes).adjacency
    if not inside.nnz:
        message = (
            f"{graph!r} has no edge between the screen's {len(genes)} genes; check that both name "
            "genes alike (`perturbkit names`)"
        )
        raise SchemaError(message)
    both = sparse.csr_array(inside.maximum(inside.T))
    both.data = np.ones_like(both.data)
    return both


def _control_columns(data: Screen | Responses, responses: Responses) -> list[np.ndarray]:
    """Mean, spread and detection of each readout in control cells; what the data can say."""
    if isinstance(data, Screen) and data.level == "cells":
        control = (data.row_table()["perturbation"] == "control").to_numpy()
        if control.any():
            matrix = sparse.csr_matrix(data.adata.X)[np.flatnonzero(control)]  # pyright: ignore
            scale = None
            if data.unit == "counts":
                scale = cell_scales(library_sizes(matrix))
            code = np.zeros(matrix.shape[0], np.int64)
            stats = group_stats(matrix, code, 1, log_scale_n=scale)
            spread = np.sqrt(np.nan_to_num(stats.var_kg[0]))
            return [stats.mean_kg[0], spread, stats.fraction_kg[0]]
    if responses.is_control.any():
        rest = responses.mean_cg[responses.is_control]
        return [np.nan_to_num(np.nanmean(rest, 0)), np.nan_to_num(rest.std(0))]
    return []


def _moved_columns(delta_cr: np.ndarray) -> list[np.ndarray]:
    """How training perturbations move each readout: mean, size, leading loadings."""
    _, size, loading = np.linalg.svd(delta_cr - delta_cr.mean(0), full_matrices=False)
    n = min(N_LOADINGS, int((size > 1e-9).sum()))
    signs = np.sign(loading[:n].sum(1) + 1e-12)
    return [delta_cr.mean(0), np.abs(delta_cr).mean(0), *(loading[:n] * signs[:, None])]
