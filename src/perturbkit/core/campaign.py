"""The Campaign: a folder with the rounds of a screen under design. Killed anywhere, it goes on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from perturbkit.core.campaign_tables import checked_pool, faults, read_csv
from perturbkit.core.condition import CONDITION_SCHEMA, condition_keys
from perturbkit.core.config import Config
from perturbkit.core.errors import FileError, SchemaError
from perturbkit.core.files import atomic_path, existing, read_json, write_json

FORMAT = 1
"""Version of the folder's layout; raised when it changes."""
_SLACK = 1e-9


class CampaignConfig(Config):
    """What a campaign is after and what it may spend."""

    objective: Literal["hits", "model", "network"] = "hits"
    """`hits`: find the conditions with large outcomes; `model`: make the predictor right
    everywhere; `network`: learn which gene regulates which"""
    readouts: tuple[str, ...] = ("score",)
    """the outcome columns every results file must have"""
    hit: Literal["high", "low", "both"] = "both"
    """which end of the first readout is a hit"""
    threshold: float | None = None
    """score from which a condition is a hit (its size where both ends are); None: not said"""
    budget: float = Field(default=640.0, gt=0)
    """the sum of the costs that may be spent; a condition costs 1 unless the pool says otherwise"""
    batch: int = Field(default=128, gt=0)
    """conditions in a round"""
    policy: str = "greedy"
    """how the next conditions are chosen"""
    seed: int = 0
    """what every random draw of the campaign comes from"""
    guides_per_gene: int = Field(default=4, gt=0)
    """guides ordered for each condition"""
    control_share: float = Field(default=0.1, ge=0, lt=1)
    """control guides as a share of the targeting ones"""


@dataclass(frozen=True, eq=False)
class Round:
    """One batch: what was chosen and why, and what came out once it is known."""

    index: int
    """1 for the first"""
    chosen: pl.DataFrame
    """rows of the pool in order of choice, with `rank`, `reason` and whatever the policy adds"""
    results: pl.DataFrame | None
    """`key` and the readouts of every chosen condition; null where a condition failed"""

    @property
    def keys(self) -> list[str]:
        """The identity of each chosen condition."""
        return self.chosen["key"].to_list()


@dataclass(frozen=True, eq=False)
class Campaign:
    """A folder: campaign.json, pool.csv, and for each round round_001.csv, round_001_results.csv.

    The state is what the files say and nothing else, each is written whole or not at all, and
    none is ever changed. Use `Campaign.create` or `Campaign.open`.
    """

    path: Path
    config: CampaignConfig
    pool: pl.DataFrame
    """conditions that may be chosen: `key`, CONDITION_SCHEMA, `cost`, then the user's columns"""

    @classmethod
    def create(cls, path: str | Path, pool: pl.DataFrame, config: CampaignConfig) -> "Campaign":
        """Start a campaign in an empty or absent folder.

        Args:
            path: the folder.
            pool: a row per condition that may be chosen, with `perturbation` and optionally the
                other condition columns, `cost` and anything a policy uses.
            config: objective, budget, batch, policy.

        Raises:
            FileError: the folder is in use.
            SchemaError: repeated conditions, controls among them, costs not above 0, or a pool
                the budget cannot touch.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            message = f"{path} is not an empty folder; name another one for the new campaign"
            raise FileError(message)
        table = checked_pool(pool)
        if config.budget < float(table["cost"].min()):  # type: ignore[arg-type]
            message = (
                f"the budget of {config.budget:g} does not pay for one condition, the cheapest "
                f"costs {table['cost'].min():g}; raise the budget"
            )
            raise SchemaError(message)
        with atomic_path(path / "pool.csv") as temporary:
            table.write_csv(temporary)
        # last, so that a folder with campaign.json always has its pool
        write_json(path / "campaign.json", {"format": FORMAT, **config.plain()})
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> "Campaign":
        """Open an existing campaign.

        Raises:
            FileError: there is none, or it has another layout, or a file was damaged.
        """
        path = existing(path, "campaign")
        if not (path / "campaign.json").exists():
            message = f"{path} holds no campaign (no campaign.json); start one with design new"
            raise FileError(message)
        about = read_json(path / "campaign.json")
        if about.pop("format", None) != FORMAT:
            message = f"{path} has another layout than {FORMAT}, which this version reads"
            raise FileError(message)
        config = CampaignConfig.parse(about, str(path / "campaign.json"))
        return cls(path, config, read_csv(path / "pool.csv", CONDITION_SCHEMA))

    @cached_property
    def position(self) -> dict[str, int]:
        """Row of each key in the pool."""
        return {key: i for i, key in enumerate(self.pool["key"])}

    def rounds(self) -> list[Round]:
        """Return the rounds so far, oldest first, as the files have them now.

        Raises:
            FileError: a round file is damaged, missing in between, or contradicts the pool.
        """
        found: list[Round] = []
        while self._file(len(found) + 1).exists():
            index = len(found) + 1
            chosen = read_csv(self._file(index), CONDITION_SCHEMA)
            results = None
            if self._file(index, "_results").exists():
                results = read_csv(self._file(index, "_results"), {})
            found.append(Round(index, chosen, results))
        self._check(found)
        return found

    def _check(self, rounds: Sequence[Round]) -> None:
        keys = [key for r in rounds for key in r.keys]
        strange = next((k for k in keys if k not in self.position), None)
        if strange is not None or len(set(keys)) != len(keys):
            what = f"{strange!r} is not in the pool" if strange else "a condition occurs twice"
            message = f"the round files of {self.path} were edited: {what}; restore them"
            raise FileError(message)

    @property
    def open_round(self) -> Round | None:
        """The round that was ordered and has no results yet."""
        rounds = self.rounds()
        return rounds[-1] if rounds and rounds[-1].results is None else None

    @property
    def taken(self) -> np.ndarray:
        """Whether each condition of the pool was ever chosen, as booleans."""
        taken = np.zeros(self.pool.height, bool)
        taken[[self.position[k] for r in self.rounds() for k in r.keys]] = True
        return taken

    @property
    def spent(self) -> float:
        """The cost of everything chosen."""
        return float(self.pool["cost"].to_numpy()[self.taken].sum())

    @property
    def remaining(self) -> float:
        """What is left of the budget."""
        return self.config.budget - self.spent

    def outcomes(self) -> np.ndarray:
        """Return the results so far, float64 [pool, readouts], NaN where there are none."""
        values = np.full((self.pool.height, len(self.config.readouts)), np.nan)
        for r in self.rounds():
            if r.results is not None:
                rows = [self.position[k] for k in r.results["key"]]
                columns = r.results.select(pl.col(*self.config.readouts).cast(pl.Float64))
                values[rows] = columns.fill_null(np.nan).to_numpy()
        return values

    def choose(self, positions: Sequence[int] | np.ndarray, notes: pl.DataFrame) -> Round:
        """Write the next round; it stands from then on.

        Args:
            positions: rows of the pool, best first.
            notes: a row per position; `reason` and whatever else the order list should say.

        Raises:
            SchemaError: a condition chosen before or twice, or more than the budget pays for.
            FileError: the last round has no results yet.
        """
        rows = np.asarray(positions, np.int64)
        with self.lock():
            if self.open_round is not None:
                message = f"round {self.open_round.index} has no results yet; record them first"
                raise FileError(message)
            twice = len(np.unique(rows)) != len(rows)
            if twice or self.taken[rows].any() or not len(rows):
                message = (
                    f"a batch of {len(rows)} holds conditions that were chosen before, repeats "
                    "one, or is empty; choose among those left"
                )
                raise SchemaError(message)
            price = float(self.pool["cost"].to_numpy()[rows].sum())
            if price > self.remaining + _SLACK:
                message = (
                    f"the batch costs {price:g} and {self.remaining:g} is left of the budget of "
                    f"{self.config.budget:g}; choose fewer"
                )
                raise SchemaError(message)
            index = len(self.rounds()) + 1
            ranked = self.pool[rows].hstack(notes).with_columns(rank=np.arange(len(rows)) + 1)
            with atomic_path(self._file(index)) as temporary:
                ranked.write_csv(temporary)
        return self.rounds()[-1]

    def record(self, results: pl.DataFrame) -> Round:
        """Write the results of the open round; all of them or nothing.

        Args:
            results: `perturbation` (or `gene`), the other condition columns where they differ,
                and the readouts; a blank or NaN value says that the condition failed.

        Raises:
            FileError: no round is open.
            SchemaError: missing columns, unknown, repeated or missing conditions, or values that
                are no numbers; one message that lists all of it.
        """
        with self.lock():
            open_round = self.open_round
            if open_round is None:
                message = f"no round of {self.path} waits for results; choose the next one first"
                raise FileError(message)
            table = self._checked_results(results, open_round)
            with atomic_path(self._file(open_round.index, "_results")) as temporary:
                table.write_csv(temporary)
        return self.rounds()[-1]

    def _checked_results(self, results: pl.DataFrame, open_round: Round) -> pl.DataFrame:
        if "perturbation" not in results.columns and "gene" in results.columns:
            results = results.rename({"gene": "perturbation"})
        absent = [c for c in ("perturbation", *self.config.readouts) if c not in results.columns]
        if absent:
            message = (
                f"the results have the columns {', '.join(results.columns) or 'none'} and lack "
                f"{', '.join(absent)}; nothing was recorded: add them"
            )
            raise SchemaError(message)
        if results["perturbation"].null_count():
            message = "a row of the results names no perturbation; nothing was recorded: fill it"
            raise SchemaError(message)
        keys = self._keys_of(results, open_round)
        wrong = faults(keys, open_round.keys, list(self.position))
        columns = results.select(pl.col(*self.config.readouts).cast(pl.Float64, strict=False))
        given = results.select(pl.col(*self.config.readouts).cast(pl.String))
        for name in self.config.readouts:
            blank = given[name].str.strip_chars().is_in(["", "NA", "NaN", "nan"])
            bad = columns[name].is_null() & ~blank.fill_null(value=True)
            bad = bad | columns[name].is_infinite().fill_null(value=False)
            if bad.any():
                first = given[name].filter(bad)[0]
                wrong.append(f"{int(bad.sum())} value(s) of {name} are no numbers ({first!r})")
        if wrong:
            message = (
                f"round {open_round.index}: {'; '.join(wrong)}. Nothing was recorded: correct "
                "the file (leave the value blank where a condition failed) and record it again"
            )
            raise SchemaError(message)
        return pl.DataFrame({"key": keys}).hstack(columns)

    def _keys_of(self, results: pl.DataFrame, open_round: Round) -> list[str]:
        """Keys of the rows; columns that are left out are those of the chosen condition."""
        stated = [c for c in CONDITION_SCHEMA if c in results.columns]
        if len(stated) == 1:
            names = [str(p).strip() for p in results["perturbation"]]
            table = open_round.chosen.unique("perturbation", keep="first")
            known = dict(zip(table["perturbation"], table["key"], strict=True))
            if table.height == open_round.chosen.height:
                return [known.get(n, n) for n in names]
        return condition_keys(results.select(stated))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the campaign against a second process that would write to it.

        Raises:
            FileError: another process holds it.
        """
        import fcntl

        with (self.path / ".lock").open("w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                message = f"another process is working on {self.path}; wait for it or stop it"
                raise FileError(message) from error
            yield

    def _file(self, index: int, suffix: str = "") -> Path:
        return self.path / f"round_{index:03d}{suffix}.csv"
