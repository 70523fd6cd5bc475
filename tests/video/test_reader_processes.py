import gc
import multiprocessing
import os
import pickle
import sys
import weakref
from pathlib import Path
from typing import Any

import av
import pytest
from numbered_clips import B_FRAMES, encode, read_number

from dp3_lightning.video import FrameUnavailableError, VideoReader


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return encode(tmp_path / "clip.mp4", options=B_FRAMES)


def test_pickled_reader_reads_on(clip: Path) -> None:
    reader = VideoReader(clip)
    reader[20]
    twin = pickle.loads(pickle.dumps(reader))
    assert read_number(twin[21]) == 21
    assert read_number(reader[21]) == 21
    assert twin.pts == reader.pts
    error = pickle.loads(pickle.dumps(FrameUnavailableError(3, clip)))
    assert (error.index, error.path) == (3, clip)


def read_in_child(reader: VideoReader, queue: Any) -> None:
    numbers = [read_number(reader[i]) for i in (13, 39, 2)]
    reader.close()
    queue.put((os.getpid(), numbers))


def drop_in_child(readers: list[VideoReader]) -> None:
    run = weakref.ref(readers[0]._run)
    readers.clear()
    # Freeing it would wait for decoder threads that the child does not have.
    sys.exit(0 if run() is not None else 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_forked_child_may_drop_an_open_reader(clip: Path) -> None:
    readers = [VideoReader(clip, threads=4)]
    readers[0][12]
    context = multiprocessing.get_context("fork")
    child = context.Process(target=drop_in_child, args=(readers,))
    child.start()
    child.join(20)
    if child.exitcode is None:
        child.kill()
    assert child.exitcode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_forked_child_opens_its_own_file(clip: Path) -> None:
    reader = VideoReader(clip, threads=4)
    reader[12]
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=read_in_child, args=(reader, queue))
    child.start()
    child.join(20)
    if child.exitcode is None:
        child.kill()
    assert child.exitcode == 0
    pid, numbers = queue.get()
    assert pid != os.getpid()
    assert numbers == [13, 39, 2]
    assert read_number(reader[13]) == 13


def drop_without_closing(clip: Path) -> None:
    """Leave a decoder with threads to the garbage collector, as an unclosed file does."""
    container = av.open(str(clip))
    stream = container.streams.video[0]
    stream.thread_type, stream.thread_count = "FRAME", 4
    next(container.decode(stream))
    circle: list[Any] = [container]
    circle.append(circle)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_forked_child_does_not_collect_what_its_parent_left(clip: Path) -> None:
    """It would wait for ever for threads that it does not have, at whatever moment."""
    gc.collect()
    gc.disable()
    try:
        drop_without_closing(clip)
        child = multiprocessing.get_context("fork").Process(target=gc.collect)
        child.start()
    finally:
        gc.enable()
    child.join(20)
    if child.exitcode is None:
        child.kill()
    assert child.exitcode == 0
