"""How commands ask which conditions to predict: options that several of them share."""

from pathlib import Path
from typing import Annotated

import typer

Conditions = Annotated[
    list[str] | None,
    typer.Argument(help="Conditions: JAK2, STAT1+IRF1, drug@10uM; quote those with blanks."),
]
Contexts = Annotated[
    list[str] | None,
    typer.Option(help="Contexts to predict in (repeatable); default: all of the run."),
]
Table = Annotated[
    Path | None,
    typer.Option(help="CSV or Parquet of conditions: perturbation, context, dose_um, ..."),
]
