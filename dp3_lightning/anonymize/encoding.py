"""How the frames of one video are written: what the source has and the target can hold.

What cannot be kept is refused before anything is rendered, with the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import av
import numpy as np
from av.video.format import VideoFormat

from dp3_lightning.anonymize.options import OutputOptions
from dp3_lightning.structures import UInt8Array
from dp3_lightning.video import (
    UnreadableVideoError,
    VideoReader,
    join_stretches,
    write_gif,
    write_video,
)
from dp3_lightning.video.color import is_rgb, is_transparent
from dp3_lightning.video.decoding import path_for_ffmpeg
from dp3_lightning.video.join import check_sound_times

_TRIED_FRAMES = 2
_NOISE = 32  # pixels
_TRIED_SOUND = 40  # packets, about a second


class Encoding:
    """Writes stretches of one video and joins them.

    Args:
        reader: the source.
        output: target; its suffix chooses the container.
        options: choices of the user.

    Attributes:
        notes: what is not kept and does not matter enough to refuse, in plain words.

    Raises:
        ValueError: the source has something that cannot be kept; names the remedy.
    """

    def __init__(self, reader: VideoReader, output: Path, options: OutputOptions) -> None:
        self.reader, self.output, self.options = reader, output, options
        self.is_gif = output.suffix.lower() == ".gif"
        self.codec = options.codec_for(output)
        self.notes: list[str] = []
        self._check_colors()
        self._check_transparency()
        self._check_fields()
        self.pix_fmt = self._pixel_format()

    def write_stretch(
        self, path: Path, frames: Iterable[UInt8Array], start: int, stop: int
    ) -> None:
        """Encode frames ``start`` to ``stop - 1`` into a file of their own."""
        write_video(
            path,
            frames,
            self.reader.average_rate,
            codec=self.codec,
            crf=self.options.crf,
            lossless=self.is_gif,  # encoded at the end
            pts=self.reader.pts[start:stop],
            time_base=self.reader.time_base,
            tags=self.reader.tags.for_yuv(),
            pix_fmt=self.pix_fmt,
            encoder_options=self._encoder_options(),
            pixel_aspect=self.reader.pixel_aspect,
        )

    def join(
        self,
        target: Path,
        stretches: Sequence[Path],
        count: int | None = None,
        sound_packets: int | None = None,
    ) -> None:
        """Join stretches to the whole video, with the sound of the source if it is asked for.

        Args:
            target: file to write.
            stretches: in order.
            count: frames in them; default: all.
            sound_packets: stop the sound after so many packets.

        Raises:
            ValueError: the container does not keep what it is given; names the remedy.
        """
        reader = self.reader
        count = len(reader) if count is None else count
        if self.is_gif:
            write_gif(target, stretches, reader.times[:count])
        else:
            sound = reader.path if self.options.audio == "copy" else None
            join_stretches(
                target,
                stretches,
                reader.pts[:count],
                reader.time_base,
                sound,
                reader.shifts,
                sound_packets,
            )
        try:
            written = VideoReader(target)
        except UnreadableVideoError as error:
            raise ValueError(
                f"A {target.suffix} file cannot hold pictures of {self.codec}: choose another "
                "suffix (.mp4, .mkv)."
            ) from error
        self._check_written(written, count)

    def try_out(self, folder: Path) -> None:
        """Write two black frames with some sound and read them back, before hours of rendering.

        Args:
            folder: for files that are deleted at once.

        Raises:
            ValueError: encoder, container and sound do not fit together; names the remedy.
        """
        if self.options.audio == "copy":
            check_sound_times(self.reader.path, self.reader.shifts)
        count = min(_TRIED_FRAMES, len(self.reader))
        pictures = folder / "joined.trial.nut"
        whole = folder / f"joined.trial{self.output.suffix}"
        # Black, with some noise: of a transport stream, too few bytes would not be recognised.
        frame = np.zeros((*self.reader.size, 3), np.uint8)
        corner = frame[:_NOISE, :_NOISE]
        corner[:] = np.random.default_rng(0).integers(0, 256, corner.shape)
        try:
            self.write_stretch(pictures, repeat(frame, count), 0, count)
            self.join(whole, [pictures], count, _TRIED_SOUND)
        finally:
            pictures.unlink(missing_ok=True)
            whole.unlink(missing_ok=True)

    def _check_written(self, written: VideoReader, count: int) -> None:
        source = self.reader
        losses = [
            (len(written) != count, f"{len(written)} frames instead of {count}"),
            (not _close(written.pixel_aspect, source.pixel_aspect), self._aspect_loss(written)),
            (bool(source.fields) and not written.fields, "no mark of interlacing"),
            (self._loses_sound(written), "other sound than the source, or none"),
        ]
        for lost, what in losses:
            if lost:
                raise ValueError(
                    f"{str(self.output)!r} would have {what}: choose another suffix (.mp4, .mkv)."
                )

    def _loses_sound(self, written: VideoReader) -> bool:
        if self.is_gif or self.options.audio == "drop":
            return False
        return _sounds_of(written.path) != _sounds_of(self.reader.path)

    def _aspect_loss(self, written: VideoReader) -> str:
        return (
            f"pixels of {written.pixel_aspect} instead of {self.reader.pixel_aspect}, a squeezed "
            "picture"
        )

    def _check_colors(self) -> None:
        reader = self.reader
        if reader.bit_depth <= 8:
            return
        kind = (
            f"{str(reader.path)!r} has {reader.bit_depth} bits per colour ({reader.pixel_format})"
        )
        if reader.tags.high_dynamic_range:
            raise ValueError(
                f"{kind} and high dynamic range, which 8 bits cannot hold: convert it to standard "
                "dynamic range (BT.709) first."
            )
        if self.options.deep_color == "refuse":
            raise ValueError(
                f"{kind}, of which 8 would be left: allow it with `--deep_color convert`."
            )

    def _check_transparency(self) -> None:
        reader = self.reader
        if reader.hidden_alpha:
            raise ValueError(
                f"{str(reader.path)!r} has transparency in a form that cannot be read here, so "
                "that what it hides would be seen: fill it first (`ffmpeg -c:v libvpx-vp9 -i IN "
                "-filter_complex 'color=white[c];[c][0]scale2ref[c][v];[c][v]overlay=shortest=1' "
                "OUT.mp4`)."
            )
        if is_transparent(VideoFormat(reader.pixel_format)) and reader.path.suffix != ".gif":
            self.notes.append("what is transparent is filled with white: the output has no alpha")

    def _check_fields(self) -> None:
        if self.reader.fields and (self.codec != "libx264" or self.is_gif):
            raise ValueError(
                f"{str(self.reader.path)!r} is interlaced, which is kept with the encoder libx264 "
                f"only, not {self.codec}: choose .mp4 or .mkv, or deinterlace it first (`ffmpeg -i "
                "IN -vf bwdif OUT`)."
            )

    def _encoder_options(self) -> dict[str, str]:
        options = dict(self.options.encoder_options)
        if self.output.suffix.lower() == ".avi":  # it has no times of its own to reorder by
            options = {"bf": "0"} | options
        if self.reader.fields:
            first = "tff=1" if self.reader.fields == "top" else "bff=1"
            options["x264-params"] = ":".join(filter(None, [options.get("x264-params"), first]))
        return options

    def _pixel_format(self) -> str | None:
        """Chroma resolution of the source where the encoder has it; None for the default."""
        name = self.reader.pixel_format.replace("yuvj", "yuv")
        rgb = is_rgb(VideoFormat(name))
        wanted = next((kind for kind in ("444", "422") if f"{kind}p" in name), "444" if rgb else "")
        # Pictures of GIFs have 256 colours, and few players show 4:4:4.
        if not wanted or self.is_gif or self.reader.path.suffix.lower() == ".gif":
            return None
        if wanted == "422" and self.reader.size[1] % 2:
            return None
        if f"yuv{wanted}p" in _formats_of(self.codec):
            return f"yuv{wanted}p"
        self.notes.append(f"colours are written at half resolution: {self.codec} has no other")
        return None


def _close(first: Fraction, second: Fraction) -> bool:
    """Whether pixel aspects agree as exactly as containers keep them."""
    return abs(first / second - 1) < Fraction(1, 100)


def _sounds_of(path: Path) -> list[str]:
    """Names of the codecs of all sound streams; what cannot be decoded has none."""
    with av.open(path_for_ffmpeg(path)) as container:
        streams = container.streams.audio
        return [s.codec_context.name if s.codec_context is not None else "" for s in streams]


def _formats_of(codec: str) -> Iterator[str]:
    if codec in av.codecs_available:
        yield from (kind.name for kind in av.Codec(codec, "w").video_formats or ())
