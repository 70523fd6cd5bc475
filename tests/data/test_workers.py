import multiprocessing
import os

import cv2
import numpy as np
import pytest

from dp3_lightning.data.workers import limit_worker_threads


def fill_thread_pool() -> int:
    cv2.setNumThreads(4)
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    cv2.GaussianBlur(noise, (31, 31), 0)
    return cv2.getNumThreads()


def worker(answers: "multiprocessing.SimpleQueue[int]") -> None:
    limit_worker_threads(0)
    answers.put(cv2.getNumThreads())


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="no fork here")
def test_opencv_used_before_a_fork_does_not_block_the_worker() -> None:
    """Face detection in the main process, then loader workers: that hung for ever."""
    threads = fill_thread_pool()
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=worker, args=(answers,))
    process.start()
    process.join(timeout=30)
    hung = process.is_alive()
    process.kill()
    process.join()
    assert not hung
    assert answers.get() == 1
    assert cv2.getNumThreads() == threads
