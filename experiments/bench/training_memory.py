"""The most memory that a training needs: each side in a process of its own, since a process never forgets its peak."""

import multiprocessing
import resource
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from experiments.bench.training_sides import Case, Side, time_side


def peak_memory(case: Case, side: Side, max_minutes: float = 0.25, max_steps: int = 8) -> dict[str, float]:
    """Peak bytes over all examples of the case, trained for a few steps: `resident`, and `device` where that is a GPU."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, case, side, max_minutes, max_steps).result()


def measure(case: Case, side: Side, max_minutes: float, max_steps: int) -> dict[str, float]:
    """The same for this process, with all that it has held before."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        time_side(case, side, case.examples, Path(folder), max_minutes, max_steps)
    peak = {"resident": float(_peak_resident())}
    if torch.cuda.is_available():
        peak["device"] = float(torch.cuda.max_memory_allocated())
    return peak


def _peak_resident() -> int:
    """Bytes. Linux's own figure for this program first: that of getrusage begins with the parent's."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
