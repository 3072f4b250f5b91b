"""The leaderboard of a benchmark, as Markdown and as one offline HTML page."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from perturbkit.metrics import METRICS
from perturbkit.metrics.score import CEILINGS

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>perturbkit leaderboard</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:96rem;margin:2rem auto;padding:0 1rem;
color:#1b1f24}
table{border-collapse:collapse;width:100%;margin:.5rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .5rem;border-bottom:1px solid #d8dee4;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}small{color:#57606a}
tr.best td{font-weight:600}tr.ceiling td{color:#57606a;font-style:italic}
.wrap{overflow-x:auto}details{margin:.4rem 0}h2{margin-top:2.5rem}
</style></head><body><h1>Leaderboard</h1>
<p>Mean over held-out conditions with its 95 % interval (bootstrap over perturbations). Models in
the order of the first metric, where a condition that a model refuses counts as the mean response
scores it: n says how many it answers. Arrows say which way is better; * marks a difference to
the best simple baseline whose 95 % paired interval excludes zero. Ceilings are one half of the
cells predicting the other half, stepped up to full size: as it is (what a second experiment would
score) and shrunk to the mean response by its noise. A model that averages noise away can pass
them. "Of range" is the first metric's share of the way from the mean response (0) to the better
ceiling (1).</p>
{% for task in tasks %}<h2 id="{{ task.name }}">{{ task.name }}</h2><p>{{ task.summary }}</p>
<div class="wrap"><table><thead><tr><th>model</th>
{% for m in task.metrics %}<th>{{ m }}</th>{% endfor %}<th>of range</th><th>n</th><th>fit, s</th>
</tr></thead><tbody>
{% for row in task.rows %}<tr class="{{ row.kind }}"><td>{{ row.model }}</td>
{% for cell in row.cells %}<td>{{ cell.value }}{% if cell.interval %}<br><small>
{{ cell.interval }}</small>{% endif %}</td>{% endfor %}
<td>{{ row.share }}</td><td>{{ row.n }}</td><td>{{ row.fit }}</td></tr>{% endfor %}</tbody></table>
</div>{% if task.strata %}<details><summary>{{ task.metrics[0] }} by effect size, by what was seen
in training, by context</summary><div class="wrap"><table><thead><tr><th>model</th>
{% for s in task.strata %}<th>{{ s }}</th>{% endfor %}</tr></thead><tbody>
{% for line in task.lines %}<tr><td>{{ line[0] }}</td>{% for v in line[1:] %}<td>{{ v }}</td>
{% endfor %}</tr>{% endfor %}</tbody></table></div></details>{% endif %}
{% if task.notes %}<details><summary>not scored</summary><ul>
{% for note in task.notes %}<li>{{ note }}</li>{% endfor %}</ul></details>{% endif %}
{% endfor %}</body></html>
"""


@dataclass(frozen=True)
class Cell:
    """One value as text."""

    value: str
    interval: str


@dataclass(frozen=True)
class Row:
    """One model of a task."""

    model: str
    kind: str
    cells: list[Cell]
    share: str
    n: str
    fit: str


@dataclass(frozen=True)
class TaskTable:
    """One task, ready to be drawn."""

    name: str
    summary: str
    metrics: list[str]
    rows: list[Row]
    notes: list[str]
    strata: list[str]
    """names of the strata, with the number of conditions in each"""
    lines: list[list[str]]
    """the model, then its first metric in each stratum"""


def task_tables(
    table: pl.DataFrame, about: Mapping[str, str], strata: pl.DataFrame
) -> Iterator[TaskTable]:
    """Yield each task's models in the order of its first metric, the ceilings last."""
    for name in dict.fromkeys(table["task"]):
        mine = table.filter(pl.col("task") == name)
        metrics = list(dict.fromkeys(mine["metric"]))
        first = mine.filter((pl.col("metric") == metrics[0]) & pl.col("rank").is_not_null())
        ranked = first.sort("rank")["model"].to_list()
        others = [m for m in dict.fromkeys(mine["model"]) if m not in ranked]
        shown = [m for m in others if mine.filter(pl.col("model") == m)["value"].is_not_nan().any()]
        rows = [
            _row(mine.filter(pl.col("model") == m), metrics, best=bool(ranked) and m == ranked[0])
            for m in (*ranked, *shown)
        ]
        reasons = mine.filter(pl.col("value").is_nan()).unique(["model", "reason"])
        notes = [f"{m}: {r}" for m, r in reasons.sort("model").select("model", "reason").rows()]
        titles = [f"{m} {'↑' if METRICS[m].better == 'higher' else '↓'}" for m in metrics]
        mine = strata.filter((pl.col("task") == name) & (pl.col("metric") == metrics[0]))
        names, lines = _strata(mine, [*ranked, *shown])
        yield TaskTable(name, about.get(name, ""), titles, rows, notes, names, lines)


def _strata(mine: pl.DataFrame, models: list[str]) -> tuple[list[str], list[list[str]]]:
    """Strata that split the conditions, and the values of each model in them."""
    several = mine.group_by("by").agg(pl.col("stratum").n_unique()).filter(pl.col("stratum") > 1)
    mine = mine.filter(pl.col("by").is_in(several["by"].to_list()))
    keys = list(dict.fromkeys(mine.select("by", "stratum").rows()))
    sizes = {(r["by"], r["stratum"]): 0 for r in mine.iter_rows(named=True)}
    values = dict[tuple[str, str, str], float]()
    for row in mine.iter_rows(named=True):
        key = row["by"], row["stratum"]
        sizes[key] = max(sizes[key], row["n"])
        values[row["model"], *key] = row["value"]
    names = [f"{s if by == 'effect' else f'{by} {s}'} (n {sizes[by, s]})" for by, s in keys]
    lines = []
    for model in models if keys else ():
        found = [values.get((model, *key), math.nan) for key in keys]
        lines.append([model, *("-" if math.isnan(v) else f"{v:.3f}" for v in found)])
    return names, lines


def _row(mine: pl.DataFrame, metrics: list[str], *, best: bool) -> Row:
    model = mine["model"][0]
    by_metric = {r["metric"]: r for r in mine.iter_rows(named=True)}
    kind = "ceiling" if model in CEILINGS else "best" if best else ""
    cells = [_cell(by_metric[m]) for m in metrics]
    fit = mine["fit_s"].drop_nulls()
    share = by_metric[metrics[0]].get("share")
    text = "" if share is None or math.isnan(share) else f"{share:.2f}"
    return Row(model, kind, cells, text, str(mine["n"].max()), f"{fit[0]:.1f}" if len(fit) else "")


def _cell(row: dict[str, Any]) -> Cell:
    if math.isnan(row["value"]):
        return Cell("-", "")
    low, high = row.get("gap_low"), row.get("gap_high")
    clear = low is not None and high is not None and (low > 0 or high < 0)
    return Cell(
        f"{row['value']:.3f}{'*' if clear else ''}", f"{row['low']:.3f} - {row['high']:.3f}"
    )


def leaderboard_html(table: pl.DataFrame, about: Mapping[str, str], strata: pl.DataFrame) -> str:
    """Return the page; every text is escaped."""
    from jinja2 import Environment

    page = Environment(autoescape=True).from_string(_PAGE)
    return page.render(tasks=list(task_tables(table, about, strata)))


def leaderboard_markdown(
    table: pl.DataFrame, about: Mapping[str, str], strata: pl.DataFrame
) -> str:
    """Return the same tables as Markdown."""
    lines = ["# Leaderboard", ""]
    for task in task_tables(table, about, strata):
        lines += [f"## {task.name}", "", task.summary, ""]
        lines.append(f"| model | {' | '.join(task.metrics)} | of range | n | fit, s |")
        lines.append("|---" * (len(task.metrics) + 4) + "|")
        for row in task.rows:
            cells = [f"{c.value} ({c.interval})" if c.interval else c.value for c in row.cells]
            ends = f"{row.share} | {row.n} | {row.fit}"
            lines.append(f"| {row.model} | {' | '.join(cells)} | {ends} |")
        if task.strata:
            lines += ["", f"{task.metrics[0]} by effect size, by what was seen in training, by "
                      "context:", "", f"| model | {' | '.join(task.strata)} |"]  # fmt: skip
            lines.append("|---" * (len(task.strata) + 1) + "|")
            lines += [f"| {' | '.join(line)} |" for line in task.lines]
        lines += ["", *(f"- {note}" for note in task.notes), ""]
    return "\n".join(lines)
