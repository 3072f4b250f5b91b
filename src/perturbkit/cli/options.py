"""Options that several commands share, so that one word means one thing everywhere."""

from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where it stopped.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an old run.")]
MaxMemory = Annotated[int, typer.Option("--max-memory", help="Limit in megabytes.")]
