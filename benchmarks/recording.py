"""What recording costs: 100,000 steps of a 784-500-500 network, with 1,000 sampled synapses of each layer to disk.

    python benchmarks/recording.py [--steps 100000] [--batch 1]

Runs take place in processes of their own, without probes, with the store, and without probes again: wall time and CPU
time of `simulate` and peak resident set of each, their ratios, and the bytes told before the run against those written.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import zarr

import ctsigprop as ct
from ctsigprop.recording.prepare import check_probes, lay_out

SIZES = (784, 500, 500)


def problem(steps: int, batch: int) -> tuple[ct.Network, ct.Presentations]:
    """Signal propagation on random images, a new batch every tau."""
    random = torch.Generator().manual_seed(0)
    x = torch.rand(50 * batch, SIZES[0], generator=random)
    y = torch.randint(0, 10, (len(x),), generator=random)
    rule = ct.rules.ContrastiveHebbian(rate=0.01)
    network = ct.Network(SIZES, n_classes=10, signal=ct.TargetStream(), rule=rule)
    return network, ct.Presentations(x, y, batch, epochs=max(1, steps // 50))


def measured(steps: int, batch: int, store: str) -> dict[str, float]:
    """One run: seconds, peak resident set in MB, and where it records, bytes predicted and written."""
    torch.set_num_threads(1)
    network, stimulus = problem(steps, batch)
    probes = [ct.Probe("weights", every=10.0, select={"synapse": ct.Sample(1000)})] if store else []
    solver = ct.solvers.FactoredEuler(dt=1.0)
    began = time.process_time()
    sol = ct.simulate(network, stimulus, solver, probes=probes, store=store or None)
    cpu = time.process_time() - began
    if not sol.status.ok:
        raise RuntimeError(sol.message)
    found = {
        "seconds": sol.stats["wall_seconds"],
        "cpu": cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "steps": sol.stats["steps"],
    }
    if store:
        recorders = check_probes(probes, network, stimulus)
        layouts = lay_out(recorders, network.initial_state(), 0.0, stimulus.duration_total)
        arrays: Any = dict(zarr.open_group(f"{store}/dataset.zarr", mode="r").arrays())
        found["predicted"] = sum(layout.nbytes for layout in layouts)
        found["written"] = sum(array[...].nbytes for array in arrays.values())
        found["on_disk"] = sum(file.stat().st_size for file in Path(store).rglob("*") if file.is_file())
    return found


def apart(steps: int, batch: int, store: str) -> dict[str, float]:
    """`measured` in a process of its own."""
    command = [sys.executable, __file__, "--steps", str(steps), "--batch", str(batch), "--measure", store]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--measure", default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure is not None:
        print(json.dumps(measured(args.steps, args.batch, args.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        before = apart(args.steps, args.batch, "")
        stored = apart(args.steps, args.batch, f"{folder}/run.zarr")
        after = apart(args.steps, args.batch, "")
    bare = {name: (before[name] + after[name]) / 2 for name in before}
    print(
        f"{'-'.join(map(str, SIZES))}, batch {args.batch}, {args.steps} steps, torch {torch.__version__}, one thread\n"
    )
    print("| run | seconds | CPU seconds of all threads | ms per step | peak resident set, MB |")
    print("|---|---|---|---|---|")
    for name, row in (("no probes", before), ("1,000 synapses a layer to disk", stored), ("no probes", after)):
        each = 1e3 * row["seconds"] / row["steps"]
        print(f"| {name} | {row['seconds']:.1f} | {row['cpu']:.1f} | {each:.3f} | {row['peak']:.0f} |")
    ratios = [stored[name] / bare[name] for name in ("seconds", "cpu", "peak")]
    print(f"| ratio | {ratios[0]:.3f} | {ratios[1]:.3f} | | {ratios[2]:.3f} |")
    told, written = stored["predicted"] / 1e6, stored["written"] / 1e6
    print(f"\nbytes: told {told:.1f} MB, written {written:.1f} MB uncompressed ({told / written - 1:+.1%}), ", end="")
    print(f"{stored['on_disk'] / 1e6:.1f} MB on disk")


if __name__ == "__main__":
    main()
