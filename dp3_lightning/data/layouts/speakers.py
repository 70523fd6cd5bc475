"""Data sets of speakers whose names are in the files: HDTF, VFHQ, YouTube Faces, 300-VW."""

from __future__ import annotations

import re
from pathlib import Path

from dp3_lightning.data.layouts.base import Layout, VideoSource, files_below, folders_in
from dp3_lightning.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES

_HDTF_CLIP = re.compile(r"(RD|WDA|WRA)_(.+?)(?:_\d+)+")
_VFHQ_CLIP = re.compile(r"Clip\+(?P<video>.+)\+P\d+\+C\d+\+F.+|(?P<id>id\d{5})#.+")


class Hdtf(Layout):
    """Read HDTF, clips `WDA_BarackObama_000.mp4`."""

    name = "hdtf"
    shape = "clips `{RD,WDA,WRA}_NAME_000.mp4`, perhaps beside `RD_video_url.txt`"
    split = "none; all clips of a speaker stay together"
    licence = "CC BY 4.0; the videos' rights stay with their owners on YouTube"

    def matches(self, folder: Path) -> bool:
        """Match by the tables, or when all videos of the folder are named so."""
        if any((folder / f"{kind}_video_url.txt").is_file() for kind in ("RD", "WDA", "WRA")):
            return True
        videos = [p for p in folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES]
        return bool(videos) and all(_HDTF_CLIP.fullmatch(p.stem) for p in videos)

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List the clips; the speaker names the group."""
        return [VideoSource(p, _speaker(p.stem)) for p in files_below(folder, suffixes)]


def _speaker(stem: str) -> str:
    """Return the speaker: `WDA_DonnaShalala1_000` is DonnaShalala, `RD_Radio1_000` is Radio1."""
    clip = _HDTF_CLIP.fullmatch(stem)
    if clip is None:
        return re.sub(r"_\d+$", "", stem)
    return clip[2] if clip[1] == "RD" else re.sub(r"(?<=\D)\d+$", "", clip[2])


class Vfhq(Layout):
    """Read VFHQ, folders of frames or videos by keys `Clip+VIDEO+P0+C2+F1-90` or `id00020#...`."""

    name = "vfhq"
    shape = "clips or frame folders `Clip+VIDEO+P0+C2+F7440-7607` or `id00020#VIDEO#...`"
    split = "none; all clips of a person or YouTube video stay together"
    licence = "non-commercial research"

    def matches(self, folder: Path) -> bool:
        """Match when a name in the folder, or one level below, is a key."""
        below = [p for child in folders_in(folder) for p in child.iterdir()]
        return any(_VFHQ_CLIP.match(p.name) for p in (*folder.iterdir(), *below))

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List videos, and frames as stills.

        Raises:
            ValueError: only frames, while clips have several.
        """
        videos = []
        for path in files_below(folder, suffixes):
            keys = [_VFHQ_CLIP.match(part) for part in path.relative_to(folder).parts]
            key = next((k for k in keys if k), None)
            if key:
                videos.append(VideoSource(path, key["video"] or key["id"]))
        if not videos and files_below(folder, IMAGE_SUFFIXES):
            raise ValueError(
                f"{str(folder)!r} has the layout {self.name!r} with frames as pictures: stills are "
                "not supported for clips of several frames yet. Set `clip_length: 1`, or join the "
                "frames of every clip to a video file."
            )
        return videos


class YouTubeFaces(Layout):
    """Read YouTube Faces, `frame_images_DB/NAME/K/K.FRAME.jpg`."""

    name = "youtube-faces"
    shape = "`frame_images_DB/NAME/K/K.FRAME.jpg`"
    split = "none: the ten folds are pairs for verification; people stay together"
    licence = "research, by form"
    stills = True

    def matches(self, folder: Path) -> bool:
        """Match by the folder of frames."""
        return (folder / "frame_images_DB").is_dir()

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List the frames; the folder names the person."""
        frames = folder / "frame_images_DB"
        files = files_below(frames, suffixes)
        return [VideoSource(p, p.relative_to(frames).parts[0]) for p in files]


class ThreeHundredVw(Layout):
    """Read 300-VW, `ID/vid.avi` beside `ID/annot/000001.pts`."""

    name = "300vw"
    shape = "`ID/vid.avi` beside `ID/annot/000001.pts`"
    split = "none: the lists of the three categories do not come with the folder"
    licence = "non-commercial research, by form"

    def matches(self, folder: Path) -> bool:
        """Match when a sub-folder holds both the video and the landmarks."""
        return any((p / "vid.avi").is_file() and (p / "annot").is_dir() for p in folders_in(folder))

    def read(self, folder: Path, suffixes: frozenset[str]) -> list[VideoSource]:
        """List the videos; the folder names the group."""
        videos = [p / "vid.avi" for p in sorted(folders_in(folder))]
        return [VideoSource(p, p.parent.name) for p in videos if p.is_file()]
