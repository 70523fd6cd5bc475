"""Peak memory of a stretch of code."""

from __future__ import annotations

from pathlib import Path

import torch


class PeakMemory:
    """Rise of memory above its level at :meth:`start`: tensors on CUDA, resident pages on CPU.

    Args:
        device: ``cpu`` (Linux only) or ``cuda``.
    """

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")
        self._before = 0.0

    def start(self) -> None:
        """Forget earlier peaks."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated() / 2**20
        else:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: peak := present
            self._before = self._resident("VmRSS")

    def peak(self) -> float:
        """MiB above the level at the start."""
        now = torch.cuda.max_memory_allocated() / 2**20 if self.cuda else self._resident("VmHWM")
        return now - self._before

    @staticmethod
    def _resident(field: str) -> float:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return float(line.split()[1]) / 1024
        raise OSError(f"No {field} in /proc/self/status: peak memory on CPU needs Linux.")
