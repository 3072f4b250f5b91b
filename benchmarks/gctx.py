"""Bytes and time to read a part of a GCTX file.

Data: generated, normal values, `--readouts` x `--profiles` (as LINCS level 5 stores them: a row
for each profile), uncompressed. The part: 978 random readouts of 500 random profiles, seed 0. Bytes
are those that the process asks the system for (`rchar` of /proc/self/io), metadata included.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np


def generate(path: Path, n_profiles: int, n_readouts: int) -> None:
    rng = np.random.default_rng(0)
    block = rng.standard_normal((1000, n_readouts), np.float32)
    with h5py.File(path, "w") as file:
        matrix = file.create_dataset("0/DATA/0/matrix", (n_profiles, n_readouts), np.float32)
        for low in range(0, n_profiles, 1000):
            high = min(low + 1000, n_profiles)
            matrix[low:high] = np.roll(block, low // 1000)[: high - low]
        file["0/META/COL/id"] = np.array([f"s{i}" for i in range(n_profiles)], "S")
        file["0/META/ROW/id"] = np.array([f"g{i}" for i in range(n_readouts)], "S")


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument("--profiles", type=int, default=50_000)
    parser.add_argument("--readouts", type=int, default=12_328)
    options = parser.parse_args(argv)
    from perturbkit.data.read.gctx import read_gctx

    rng = np.random.default_rng(0)
    profiles = [f"s{i}" for i in rng.choice(options.profiles, 500, replace=False)]
    readouts = [f"g{i}" for i in rng.choice(options.readouts, 978, replace=False)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.gctx"
        generate(path, options.profiles, options.readouts)
        size = path.stat().st_size
        read_gctx(path, profiles=profiles[:2], readouts=readouts[:2])
        before, start = bytes_read(), time.perf_counter()
        part = read_gctx(path, profiles=profiles, readouts=readouts)
        seconds, read = time.perf_counter() - start, bytes_read() - before
        with h5py.File(path) as file:
            row = int(profiles[7][1:])
            columns = [int(g[1:]) for g in readouts]
            same = bool(np.array_equal(file["0/DATA/0/matrix"][row][columns], part.X[7]))
    result = {"file_mb": size / 1e6, "part_mb": part.X.nbytes / 1e6, "read_mb": read / 1e6,
              "share_of_file_read": read / size, "seconds": seconds, "equal": same}  # fmt: skip
    print(json.dumps(result, indent=2))
    return result


if __name__ == "__main__":
    main()
