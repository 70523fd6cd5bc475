"""What can be wrong with a video file."""

from __future__ import annotations

from pathlib import Path

# Both errors rebuild themselves from their arguments: exceptions cross process borders in
# data-loader workers.


class UnreadableVideoError(ValueError):
    """The file exists, but no video frame can be had from it.

    Args:
        path: the file.
        reason: what is wrong, without a full stop.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"Cannot read {str(path)!r} as a video: {reason}. Check that the file plays in a "
            "video player, or convert it again to MP4 (H.264)."
        )
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadableVideoError], tuple[Path, str]]:
        return type(self), (self.path, self.reason)


class FrameUnavailableError(ValueError):
    """The file lists this frame, but its data are damaged or missing.

    Args:
        index: index of the frame.
        path: the video.
    """

    def __init__(self, index: int, path: Path) -> None:
        super().__init__(
            f"Frame {index} of {str(path)!r} cannot be decoded: the file is damaged there. "
            "Use `iter_indexed()` to get the frames that are left, or repair the file."
        )
        self.index = index
        self.path = path

    def __reduce__(self) -> tuple[type[FrameUnavailableError], tuple[int, Path]]:
        return type(self), (self.index, self.path)
