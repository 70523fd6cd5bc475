"""Layouts of one's own data: any folder, a folder per person, folders of frames."""

from __future__ import annotations

from pathlib import Path

from dp3_lightning.data.layouts.base import (
    Layout,
    VideoSource,
    files_below,
    folders_in,
    has_file,
    has_video,
)
from dp3_lightning.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES


class PlainFolder(Layout):
    """Search any folder recursively; its first level names the person."""

    name = "folder"
    shape = "any folder; what no other layout matches"

    def matches(self, folder: Path) -> bool:
        """Match every folder."""
        return folder.is_dir()

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List all videos.

        Raises:
            ValueError: there is none.
        """
        files = files_below(folder, suffixes)
        if not files:
            raise ValueError(
                f"No video in the folder {str(folder)!r} (searched recursively for "
                f"{', '.join(sorted(suffixes))}): check `source`. Pictures count with "
                "`clip_length: 1` only."
            )
        relative = [p.relative_to(folder) for p in files]
        groups = [r.parts[0] if len(r.parts) > 1 else r.stem for r in relative]
        return [VideoSource(path, group) for path, group in zip(files, groups, strict=True)]


class IdentityFolders(PlainFolder):
    """Read `identity/clip/*.mp4` or `identity/*.mp4`: every video in the folder of a person."""

    name = "identity"
    shape = "`identity/clip/*.mp4` or `identity/*.mp4`, no video beside the people's folders"

    def matches(self, folder: Path) -> bool:
        """Match folders with videos, all of them in sub-folders."""
        stray = has_file(folder, lambda p: p.suffix.lower() in VIDEO_SUFFIXES)
        return not stray and any(has_video(p) for p in folders_in(folder))


class FrameFolders(Layout):
    """Read folders of numbered frames, `identity/clip/0001.jpg` or `clip/0001.jpg`."""

    name = "frames"
    shape = "`identity/clip/0001.jpg` or `clip/0001.jpg`, no videos"
    stills = True

    def matches(self, folder: Path) -> bool:
        """Match folders without videos whose first folder of pictures numbers them."""
        for leaf in sorted(p.parent for p in files_below(folder, IMAGE_SUFFIXES)):
            numbered = [p for p in leaf.iterdir() if _is_frame(p)]
            return leaf != folder and len(numbered) > 1 and not has_video(folder)
        return False

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List all frames; the first level names the person."""
        files = files_below(folder, suffixes)
        return [VideoSource(p, p.relative_to(folder).parts[0]) for p in files]


def _is_frame(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.stem[-1:].isdigit()
