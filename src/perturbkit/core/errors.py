"""Every error a user can meet. A message says what was found, what is needed and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class PerturbkitError(Exception):
    """The one class the command line turns into a clear line and exit code 2."""

    def __str__(self) -> str:
        # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class SchemaError(PerturbkitError, ValueError):
    """Data of the wrong shape, with missing columns, or contradicting themselves."""


class UnitError(PerturbkitError, ValueError):
    """Values that cannot be in the unit they are said to be in."""


class ConfigError(PerturbkitError, ValueError):
    """A setting that is unknown, of the wrong type or out of range."""


class UnknownNameError(PerturbkitError, KeyError):
    """A gene, context, model, metric, ... that is not in the list it is looked up in."""


class FileError(PerturbkitError, OSError):
    """A file that is missing, cut short, of another format, or in the way."""


class MissingExtraError(PerturbkitError, ImportError):
    """An optional dependency that is not installed."""


class DivergedError(PerturbkitError, RuntimeError):
    """Training left the finite numbers; the last good checkpoint is kept."""


class LeakError(PerturbkitError, ValueError):
    """A split that lets held-out conditions into the training set."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for a name that is not in a list, with what may have been meant.

    Args:
        kind: what the name stands for, in the singular: "gene", "model", "metric".
        name: what was asked for.
        known: the names that exist.
    """
    names = [str(n) for n in known]
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if not close:
        folded = {n.casefold(): n for n in names}
        close = [folded[name.casefold()]] if name.casefold() in folded else []
    if close:
        hint = f"did you mean {' or '.join(repr(c) for c in close)}?"
    elif len(names) <= 12:
        hint = f"known: {', '.join(names) or 'none'}"
    else:
        hint = f"{len(names):,} names are known, for example {', '.join(names[:3])}"
    return UnknownNameError(f"no {kind} named {name!r}; {hint}")
