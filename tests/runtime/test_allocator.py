import platform
import subprocess
import sys

import pytest

# Page faults of ten allocations of 64 MB, each freed before the next.
COUNT = """
import resource, sys
import torch
from dp3_lightning.runtime.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(20):  # until the heap has the size it needs
    torch.ones(16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator only")
def test_freed_blocks_are_used_again() -> None:
    faults = []
    for mode in ("default", "keep"):
        command = [sys.executable, "-c", COUNT, mode]
        faults.append(int(subprocess.run(command, capture_output=True, check=True).stdout))
    assert faults[1] < faults[0] / 10
