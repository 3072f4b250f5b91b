"""A fitted HyperPerturb: effects, sensitivity, levels, the network, and what to perturb next."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import save_file

from perturbkit.core.errors import SchemaError
from perturbkit.core.files import atomic_path, sha256, write_json, write_text
from perturbkit.core.graph import Graph, Provenance
from perturbkit.design.hyperperturb.inputs import Inputs
from perturbkit.models.hyperbolic import HyperPerturb


@dataclass(frozen=True, eq=False)
class FittedHyperPerturb:
    """What `HyperPerturbTrainer.train` returns."""

    model: HyperPerturb
    inputs: Inputs
    config: dict[str, Any]
    """settings, as plain values"""
    reward_weights: dict[str, float]
    history: list[dict[str, float]]
    """one record for each epoch: errors of the perturbations that choose the epoch, and of those
    that judge, with the error of the mean training change beside them"""

    @cached_property
    def _out(self) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return self.model(self.inputs.x_gf, self.inputs.adjacency)

    @property
    def genes(self) -> list[str]:
        """The nodes: readouts first, then targets that are not read out."""
        return list(self.inputs.genes)

    def effects(self, targets: list[str] | None = None) -> np.ndarray:
        """Return signed effects on the readouts, float32 [targets, readouts], in the data's unit.

        The mean training change is not in them; add `center()` to predict a response.

        Args:
            targets: genes; all nodes by default, measured or not.

        Raises:
            UnknownNameError: a gene that is no node.
        """
        names = self.genes if targets is None else targets
        rows = torch.from_numpy(self.inputs.genes.encode(names).astype(np.int64))
        with torch.no_grad():
            found = self.model.effects(self._out, rows)[:, : self.inputs.n_readouts]
        return (found * self.inputs.unit).numpy()

    def center(self) -> np.ndarray:
        """Return the mean training change of each readout, in the data's unit."""
        return self.inputs.center_r.numpy() * self.inputs.unit

    def sensitivity(self) -> dict[str, float]:
        """Return how strongly perturbing each gene acts, in no unit."""
        return dict(zip(self.genes, self._out["sensitivity"].tolist(), strict=True))

    def levels(self) -> np.ndarray:
        """Return the level of each gene, smaller is higher up: its distance from the origin."""
        return self._out["embedding"].norm(dim=-1).double().numpy()

    @property
    def curvature(self) -> float:
        """The curvature that was learned, or stated."""
        return float(self._out["curvature"])

    def graph(self) -> Graph:
        """Return the strongest effects as a network: the share `sparsity` of all pairs."""
        value = self.effects()
        n_targets, n_readouts = value.shape
        value[np.arange(n_readouts), np.arange(n_readouts)] = 0.0
        size = np.abs(value).ravel()
        n = max(1, round(float(self.config["sparsity"]) * size.size))
        top = np.argsort(-size, kind="stable")[:n]
        top = top[size[top] > 0]
        source, target = top // n_readouts, top % n_readouts
        edges = pl.DataFrame({
            "source": np.array(self.genes, dtype=object)[source],
            "target": np.array(self.genes, dtype=object)[target],
            "weight": size[top], "sign": np.sign(value.ravel()[top]).astype(np.int8),
        }, schema_overrides={"source": pl.String, "target": pl.String})  # fmt: skip
        about = Provenance(name="hyperperturb", licence="of the screen")
        return Graph.of(edges, directed=True, nodes=self.genes[:n_targets], provenance=about)

    def next_targets(self, k: int) -> pl.DataFrame:
        """Return the k genes that the policy would perturb next, best first.

        Raises:
            SchemaError: fewer than k genes are not perturbed yet.
        """
        done = np.zeros(len(self.genes), bool)
        done[np.unique(self.inputs.target_cg.indices)] = True
        free = np.flatnonzero(~done)
        if k > len(free):
            message = f"{k} genes are asked for and {len(free)} are not perturbed yet; ask for less"
            raise SchemaError(message)
        score = self._out["policy"].double().numpy()
        best = free[np.argsort(-score[free], kind="stable")[:k]]
        sensitivity = self._out["sensitivity"].double().numpy()
        level = self.levels()
        return pl.DataFrame({
            "rank": np.arange(1, k + 1), "perturbation": [self.genes[int(i)] for i in best],
            "policy": score[best], "sensitivity": sensitivity[best], "level": level[best],
        })  # fmt: skip

    def summary(self) -> dict[str, float]:
        """Return how the fit went, with the simplest prediction beside it."""
        best = min(
            self.history,
            key=lambda r: (np.nan_to_num(r["choose_error"], nan=np.inf), -r["epoch"]),
        )
        return {
            "epochs": len(self.history), "epoch": best["epoch"], "curvature": self.curvature,
            "error": best["judge_error"], "error_of_mean": best["judge_of_mean"],
        }  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write weights, settings, history, effects, genes and the network into a folder."""
        folder = Path(folder)
        weights = {k: v.contiguous() for k, v in self.model.state_dict().items()}
        with atomic_path(folder / "model.safetensors") as temporary:
            save_file(weights, temporary)
        write_text(
            folder / "metrics.jsonl",
            "".join(json.dumps(_plain(r)) + "\n" for r in self.history),
        )
        effects = pl.DataFrame(self.effects(), schema=self.genes[: self.inputs.n_readouts])
        effects = effects.insert_column(0, pl.Series("perturbation", self.genes))
        with atomic_path(folder / "effects.parquet") as temporary:
            effects.write_parquet(temporary)
        genes = pl.DataFrame({
            "gene": self.genes, "level": self.levels(),
            "sensitivity": list(self.sensitivity().values()),
            "policy": self._out["policy"].double().numpy(),
        })  # fmt: skip
        with atomic_path(folder / "genes.tsv") as temporary:
            genes.write_csv(temporary, separator="\t")
        self.graph().save(folder / "network.tsv")
        about = {"kind": "hyperperturb", "config": self.config, "summary": _plain(self.summary()),
                 "reward_weights": self.reward_weights,
                 "sha256": sha256(folder / "model.safetensors")}  # fmt: skip
        write_json(folder / "model.json", about)


def _plain(record: dict[str, float]) -> dict[str, float | None]:
    return {k: (v if np.isfinite(v) else None) for k, v in record.items()}
