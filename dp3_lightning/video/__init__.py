"""Video files in and out: exact frames, time stamps, rotation, colour.

Frames are ``(H, W, 3)`` uint8 RGB everywhere. :class:`VideoReader` gives frame ``i`` and nothing
else under that number; :func:`write_video` leaves either a whole file or none.
"""

from dp3_lightning.video.errors import FrameUnavailableError, UnreadableVideoError
from dp3_lightning.video.reader import VIDEO_SUFFIXES, VideoReader
from dp3_lightning.video.writer import write_video

__all__ = [
    "VIDEO_SUFFIXES",
    "FrameUnavailableError",
    "UnreadableVideoError",
    "VideoReader",
    "write_video",
]
