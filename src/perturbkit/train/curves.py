"""Scores on validation conditions while a network trains, beside the simple baselines'."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from perturbkit.core.responses import Responses
from perturbkit.core.rng import named_rng
from perturbkit.core.run import Run
from perturbkit.metrics.score import score
from perturbkit.models import MODELS
from perturbkit.models.applies import why_not
from perturbkit.train.loop import Event

METRICS = ("pearson_delta", "discrimination_cosine", "top_50_overlap")
"""Correlation of changes, discrimination, and overlap of the most changed genes."""
BASELINES = ("no_change", "context_mean", "mean_delta")


class Curves:
    """What `metrics.jsonl` says of a training besides its loss, and when to give up.

    Args:
        train: the training conditions, which the baselines are fitted on.
        val: validation conditions.
        patience: evaluations in a row without beating the best baseline on the correlation of
            changes before training stops; 0 never stops it.
    """

    def __init__(self, train: Responses, val: Responses, patience: int) -> None:
        controls = train.select(train.is_control)
        self.train, self.patience = train, patience
        self.truth = _joined(val, controls)
        self.asked = val
        predictions = {}
        for name in BASELINES:
            card = MODELS[name]
            if not why_not(card, train, val.conditions, None):
                fitted = card.model.fit(card.config(), train, None, named_rng(0, "curve", name))
                predictions[name] = fitted.predict(val.conditions)
        found = [self._scores(p) for p in predictions.values()]
        self.best = {m: max(s[m] for s in found) for m in METRICS}

    def _scores(self, predicted: Responses) -> dict[str, float]:
        result = score(self.truth, {"one": predicted}, train=self.train, metrics=list(METRICS),
                       rng=named_rng(0, "curve"), n_bootstrap=10)  # fmt: skip
        return {m: _mean(result.values["one", m]) for m in METRICS}

    def of(self, model: Any) -> dict[str, float]:
        """Return the model's scores as `val_METRIC` and the best baseline's as `baseline_METRIC`.

        What the model refuses is not scored. The state of torch's generator is left alone.
        """
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            found = self._scores(model.predict(self.asked.conditions))
        values = {f"val_{m}": v for m, v in found.items()}
        values |= {f"baseline_{m}": v for m, v in self.best.items()}
        return {k: round(v, 5) for k, v in values.items() if np.isfinite(v)}

    def behind(self, records: list[dict[str, Any]]) -> bool:
        """Whether the last evaluations, in a row, did not beat the best baseline."""
        last = records[-self.patience :] if self.patience else []
        return len(last) == self.patience > 0 and not any(_beats(r) for r in last)


class Recorder:
    """Writes the story of one member of an ensemble to its run.

    Args:
        run: the run.
        member: which member.
        model: what trains.
        curves: scores on validation conditions, where there are any.
    """

    def __init__(self, run: Run, member: int, model: Any, curves: Curves | None) -> None:
        self.run, self.member, self.model, self.curves = run, member, model, curves

    def record(self, event: Event) -> None:
        """Write one line; a resumed training repeats the steps after its checkpoint."""
        values = {"member": self.member, **asdict(event)}
        if self.curves is not None:
            values |= self.curves.of(self.model)
        old = self.run.records()
        kept = [r for r in old if (r["member"], r["step"]) < (self.member, event.step)]
        if len(kept) < len(old):
            self.run.keep_records(len(kept))
        if self.curves is not None and self.curves.behind([*self._own(kept), values]):
            values["verdict"] = (
                f"stopped: {self.curves.patience} evaluations in a row did not beat the best "
                f"simple baseline on pearson_delta ({values['baseline_pearson_delta']:.3f})"
            )
        self.run.log(values)

    def stop(self) -> bool:
        """Whether the last line says that training stops."""
        own = self._own(self.run.records())
        return bool(own) and "verdict" in own[-1]

    def _own(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [r for r in records if r["member"] == self.member]


def _beats(record: dict[str, Any]) -> bool:
    ours, theirs = (record.get(f"{who}_pearson_delta") for who in ("val", "baseline"))
    return ours is None or theirs is None or ours > theirs


def _mean(values: np.ndarray) -> float:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else float("nan")


def _joined(val: Responses, controls: Responses) -> Responses:
    """Return validation conditions and the controls they are compared with."""
    import polars as pl

    columns = [c for c in val.conditions.columns if c in controls.conditions.columns]
    table = pl.concat([val.conditions.select(columns), controls.conditions.select(columns)])
    values = np.concatenate([val.mean_cg, controls.mean_cg])[None]
    return Responses(values, table, val.readouts, val.unit)
