"""The Run: a folder that holds a fitted model and everything needed to use and judge it."""

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from perturbkit.core.errors import FileError
from perturbkit.core.files import existing, read_json, write_json

FORMAT = 1
"""Version of the folder's layout; raised when it changes."""
_NOTED = ("numpy", "scipy", "torch", "polars", "anndata", "accelerate")


@dataclass(frozen=True)
class Run:
    """A folder: config.json env.json metrics.jsonl model.safetensors checkpoints/ responses.parquet
    report.html, each written atomically. Use `Run.create` or `Run.open`.
    """  # noqa: D205

    path: Path

    @classmethod
    def create(
        cls, path: str | Path, config: dict[str, Any], *, resume: bool, force: bool
    ) -> "Run":
        """Start a run, or go on with one of equal settings.

        Args:
            path: the folder.
            config: the settings as plain values.
            resume: go on where a run with equal settings stopped.
            force: put a new run in the place of an old one.

        Raises:
            FileError: the folder holds something else, or a run that neither flag allows to touch.
        """
        run = cls(Path(path))
        held = run.path.exists() and any(run.path.iterdir()) if run.path.is_dir() else False
        if run.path.exists() and not run.path.is_dir():
            message = f"{run.path} is a file; name a folder for the run"
            raise FileError(message)
        if held and not run.config_path.exists():
            message = f"{run.path} is not empty and holds no run; name another folder"
            raise FileError(message)
        if held and resume:
            run._require_equal(config)
            return run
        if held and not force:
            message = (
                f"{run.path} already holds a run; go on with --resume, start over with --force, "
                "or name another folder"
            )
            raise FileError(message)
        if held:
            run._clear()
        write_json(run.path / "env.json", environment())
        write_json(run.config_path, {"format": FORMAT, **config})
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Open an existing run.

        Raises:
            FileError: there is no run, or one of a newer layout.
        """
        run = cls(existing(path, "run"))
        if not run.config_path.exists():
            message = _state_checkpoint(run.path) or (
                f"{run.path} holds no run (no config.json); name a folder made by fit"
            )
            raise FileError(message)
        found = read_json(run.config_path).get("format")
        if found != FORMAT:
            message = f"{run.path} has layout {found}; this version reads layout {FORMAT}"
            raise FileError(message)
        return run

    @property
    def config_path(self) -> Path:
        """Where the settings are."""
        return self.path / "config.json"

    @property
    def config(self) -> dict[str, Any]:
        """The settings as plain values."""
        values = read_json(self.config_path)
        values.pop("format", None)
        return values

    @property
    def is_finished(self) -> bool:
        """Whether fitting came to its end."""
        return (self.path / "model.json").exists()

    def require_finished(self) -> None:
        """Raise FileError unless fitting came to its end."""
        if not self.is_finished:
            message = f"{self.path} was not fitted to the end; go on with fit --resume"
            raise FileError(message)

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl and put it on the disk."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def records(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl; a last line that was cut short is left out."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").split("\n")
        records = []
        for i, line in enumerate(lines):
            try:
                records += [json.loads(line)] if line else []
            except json.JSONDecodeError as error:
                if i < len(lines) - 2:
                    message = f"{path}, line {i + 1} is not JSON; the file was edited"
                    raise FileError(message) from error
        return records

    def keep_records(self, n: int) -> None:
        """Cut metrics.jsonl back to its first `n` records, as when resuming from a checkpoint."""
        from perturbkit.core.files import write_text

        lines = [json.dumps(r, allow_nan=False) + "\n" for r in self.records()[:n]]
        write_text(self.path / "metrics.jsonl", "".join(lines))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run against a second process that would write to it.

        Raises:
            FileError: another process holds it.
        """
        import fcntl

        path = self.path / ".lock"
        with path.open("w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                message = f"another process is working on {self.path}; wait for it or stop it"
                raise FileError(message) from error
            yield

    def _require_equal(self, config: dict[str, Any]) -> None:
        if self.config != config:
            changed = sorted(
                k for k in {*config, *self.config} if config.get(k) != self.config.get(k)
            )
            message = (
                f"{self.path} was started with other settings ({', '.join(changed)} differ); "
                "resume with the same, or start over with --force"
            )
            raise FileError(message)

    def _clear(self) -> None:
        """Remove what a run wrote and nothing else."""
        import shutil

        for name in ("checkpoints", "baselines"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for pattern in ("*.json", "*.jsonl", "*.safetensors", "*.parquet", "*.html", "*.csv"):
            for file in self.path.glob(pattern):
                file.unlink()


def environment() -> dict[str, Any]:
    """Return the versions and the machine a run was made with; no paths, no names of people."""
    from perturbkit import __version__

    return {
        "perturbkit": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "n_cpus": os.cpu_count(),
        "command": [Path(a).name if i == 0 else a for i, a in enumerate(sys.argv)],
        **{name: version(name) for name in _NOTED},
    }


def _state_checkpoint(path: Path) -> str:
    """Return what can be done with a run or checkpoint of STATE; nothing for anything else."""
    is_folder = (path / "config.yaml").exists() and (
        (path / "checkpoints").is_dir() or (path / "data_module.torch").exists()
    )
    if not is_folder and path.suffix != ".ckpt":
        return ""
    return (
        f"{path} is a checkpoint of another program (STATE's layout): which weight is which is "
        "described in nothing that perturbkit may be built from, so it cannot be opened. Its "
        "tables of vectors can be used (--set features=FILE.pt, read as tensors alone), and the "
        "predictions it wrote can be scored: perturbkit score adata_pred.h5ad --truth "
        "adata_real.h5ad"
    )
