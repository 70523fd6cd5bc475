"""Video files in and out: exact frames, time stamps, rotation, colour.

Frames are ``(H, W, 3)`` uint8 RGB everywhere. :class:`VideoReader` gives frame ``i`` and nothing
else under that number; :func:`write_video` leaves either a whole file or none.
"""

from dp3_lightning.video.color import ColorTags
from dp3_lightning.video.errors import FrameUnavailableError, UnreadableVideoError
from dp3_lightning.video.gif import write_gif
from dp3_lightning.video.join import join_stretches
from dp3_lightning.video.reader import VideoReader
from dp3_lightning.video.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from dp3_lightning.video.writer import write_video

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "ColorTags",
    "FrameUnavailableError",
    "UnreadableVideoError",
    "VideoReader",
    "join_stretches",
    "write_gif",
    "write_video",
]
