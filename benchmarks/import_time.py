"""What importing the package costs over importing torch, in CPU seconds of fresh processes, in turn.

    python benchmarks/import_time.py [--repetitions 7]

``import rank_search`` itself imports nothing heavy; the last row adds the names that a first script uses.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

TARGET = 0.4
CODE = {
    "torch": "import torch",
    "rank_search": "import rank_search",
    "rank_search, and the names of the README": (
        "import rank_search as rs; rs.load_data, rs.load_model, rs.train, rs.RankSpace, rs.Task, rs.search, rs.save"
    ),
}


def seconds(code: str) -> float:
    """CPU seconds of the import, in a process of its own."""
    timed = f"import time; start = time.process_time(); {code}; print(time.process_time() - start)"
    return float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    rounds = parser.parse_args().repetitions
    os.environ["OMP_NUM_THREADS"] = "1"
    for code in CODE.values():  # compiled files are written
        seconds(code)
    found = [{name: seconds(code) for name, code in CODE.items()} for _ in range(rounds)]
    least = {name: min(row[name] for row in found) for name in CODE}
    for name, value in least.items():
        print(f"{name}: {value:.2f} CPU s, the least of {rounds}; {value / least['torch']:.2f} of torch")
    over = least["rank_search, and the names of the README"] - least["torch"]
    verdict = "met" if over <= TARGET else "not met"
    print(f"target: at most {TARGET} s over torch; measured: {over:.2f}; {verdict}")


if __name__ == "__main__":
    main()
