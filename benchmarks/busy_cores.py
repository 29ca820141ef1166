"""Small operations on several threads where other programs have the cores.

    python busy_cores.py [--busy 2] [--threads 2] [--repeats 3]

Each figure is of a process of its own, which trains the bundled digits' network for 100 steps, then runs a ResNet-20 on
single images 100 times: on cores as they are, then beside ``--busy`` programs that never wait. Prints the wall seconds
of every repeat, and their median as a ratio to one thread in the same circumstances.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

WORK = """
import sys, time, torch
import rank_search as rs
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
small, network = rs.load_model("digits_net"), rs.load_model("cifar_resnet20").eval()
batch, image = torch.randn(64, 1, 8, 8), torch.randn(1, 3, 32, 32)
began = time.perf_counter()
for _ in range(100):
    small(batch).sum().backward()
with torch.no_grad():
    for _ in range(100):
        network(image)
print(time.perf_counter() - began)
"""


def seconds(threads: int) -> float:
    """Wall seconds of the work in a process of its own."""
    done = subprocess.run([sys.executable, "-c", WORK, str(threads)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, default=2, help="programs beside it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    settings = parser.parse_args()
    for busy in (0, settings.busy):
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            print(f"{busy} programs beside it")
            one = 0.0
            for threads in (1, settings.threads):
                found = [seconds(threads) for _ in range(settings.repeats)]
                middle = statistics.median(found)
                one = one or middle
                each = " ".join(f"{value:6.2f}" for value in found)
                print(f"  {threads} threads: {each} s, {middle / one:.2f} x one thread", flush=True)
        finally:
            for other in others:
                other.kill()
                other.wait()


if __name__ == "__main__":
    main()
