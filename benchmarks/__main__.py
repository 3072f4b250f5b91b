"""Run every benchmark, or those named; keep what each prints in benchmarks/results/NAME.txt.

python -m benchmarks [NAME ...]
"""

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the benchmarks: the files here that have a `main`."""
    files = sorted(p for p in FOLDER.glob("*.py") if not p.stem.startswith("__"))
    return [p.stem for p in files if "\ndef main(" in p.read_text(encoding="utf-8")]


def main(chosen: list[str]) -> int:
    """Run them one after the other; the exit code is 1 where one failed, 2 for an unknown name."""
    unknown = sorted(set(chosen) - set(names()))
    if unknown:
        sys.stderr.write(f"no benchmark named {unknown[0]!r}; known: {', '.join(names())}\n")
        return 2
    results = FOLDER / "results"
    results.mkdir(exist_ok=True)
    failed = []
    for name in chosen or names():
        started = time.perf_counter()
        with (results / f"{name}.txt").open("w", encoding="utf-8") as file:
            done = subprocess.run(
                [sys.executable, "-m", f"benchmarks.{name}"], stdout=file, check=False
            )
        failed += [name] if done.returncode else []
        print(f"{name}: exit {done.returncode}, {time.perf_counter() - started:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
