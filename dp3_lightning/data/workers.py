"""Limit loader workers to one thread each, and keep OpenCV usable after their fork."""

from __future__ import annotations

import os
import signal

import cv2
import torch

# OpenCV's idle threads do not survive a fork, but their pool does: a worker that then sets the
# number of threads waits for them for ever. So the pool is taken down before every fork, and grows
# again in the parent when it is next needed. The detector and the flow of the parent fill it.
_threads: list[int] = []


def _before_fork() -> None:
    _threads.append(cv2.getNumThreads())
    cv2.setNumThreads(1)


def _after_fork_in_parent() -> None:
    cv2.setNumThreads(_threads.pop())


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_threads.clear,
    )


def limit_worker_threads(worker: int) -> None:
    """Keep a loader worker to one thread; the workers are the parallelism.

    Ctrl-C reaches every process of a terminal: the main one decides when it ends its workers.
    """
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
