"""Limit the number of threads that work on small pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch


@contextmanager
def single_thread() -> Iterator[None]:
    """Let OpenCV and torch use one thread.

    For pictures of a few thousand pixels, waking other threads takes longer than the work: optical
    flow of 64 x 64 pixels took 12 ms with two threads of a busy machine, and 0.7 ms with one.
    """
    counts = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(counts[0])
        torch.set_num_threads(counts[1])
