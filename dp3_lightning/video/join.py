"""Join encoded stretches of a video to one file, with the sound of another, without decoding."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from dp3_lightning.runtime.files import replaced
from dp3_lightning.video.decoding import intact_packets, path_for_ffmpeg

_LEAST_FALL = Fraction(1, 5)  # seconds that time stamps fall back where they start again
_RESTARTS = (
    "the time stamps of the sound start again where those of the pictures do not: write the video "
    "anew with one clock (`ffmpeg -i IN -c copy OUT`), or leave the sound out (`--audio drop`)"
)

if TYPE_CHECKING:
    _Timed = tuple[Fraction, int, Packet[Any]]  # decoding time in seconds, number of the stream


def join_stretches(
    path: str | os.PathLike[str],
    stretches: Sequence[Path],
    pts: Sequence[int],
    time_base: Fraction,
    sound_from: Path | None = None,
    sound_shifts: Sequence[Fraction] = (Fraction(0),),
    sound_packets: int | None = None,
) -> Path:
    """Write one file from stretches that one encoder made with the same settings.

    Only pictures and, when asked for, sound get into it: no titles, places, thumbnails, subtitles
    or data of the source. The file appears under its name only when it is complete.

    Args:
        path: target; the suffix chooses the container. An existing file is replaced.
        stretches: files with one video stream each, in order. What they say of time counts only
            for the order of their pictures.
        pts: presentation time of every picture, increasing.
        time_base: seconds per unit of ``pts``.
        sound_from: file whose sound is copied, every stream of it, unchanged.
        sound_shifts: seconds to add to the times of each part of a sound whose time stamps start
            again; :attr:`VideoReader.shifts`.
        sound_packets: stop after so many packets of sound; for trying whether it fits.

    Returns:
        ``path``.

    Raises:
        ValueError: the container cannot hold what it is given (says what to choose), or there is
            not one ``pts`` per picture.
    """
    target = Path(path)
    # Bit-exact: no name of the program, no date.
    options = {"fflags": "+bitexact", **timing_options(target, time_base)}
    try:
        with (
            replaced(target) as partial,
            av.open(path_for_ffmpeg(partial), "w", options=options) as container,
        ):
            timed = _in_decoding_time(stretches, pts, time_base)
            _join(container, timed, stretches, time_base, sound_from, sound_shifts, sound_packets)
    except OSError:
        raise  # disk full, no permission: the message says it
    except ValueError as error:  # FFmpeg's refusals, and PyAV's
        raise ValueError(
            f"A {target.suffix} file cannot hold these pictures"
            f"{' and this sound' if sound_from else ''} ({error}): choose another suffix (.mkv "
            "takes everything) or leave the sound out."
        ) from error
    return target


def timing_options(path: Path, time_base: Fraction) -> dict[str, str]:
    """Options of the muxer under which it keeps presentation times as they are."""
    suffix = path.suffix.lower()
    if suffix in (".mkv", ".webm"):
        # Matroska keeps no decoding times, so it need not shift all to make them positive.
        return {"avoid_negative_ts": "disabled"}
    if suffix in (".mp4", ".mov", ".m4v"):
        # The start of the pictures is told in these units, milliseconds by default.
        return {"movie_timescale": str(time_base.denominator)}
    return {}


def _join(
    container: OutputContainer,
    picture_packets: Iterator[_Timed],
    stretches: Sequence[Path],
    time_base: Fraction,
    sound_from: Path | None,
    sound_shifts: Sequence[Fraction],
    sound_packets: int | None,
) -> None:
    with av.open(path_for_ffmpeg(stretches[0])) as first:
        pictures = container.add_stream_from_template(first.streams.video[0], opaque=True)
        pictures.metadata.clear()
        pictures.time_base = time_base
    sources: list[Iterator[_Timed]] = [picture_packets]
    outputs: list[Stream] = [pictures]
    sound = av.open(path_for_ffmpeg(sound_from)) if sound_from is not None else None
    try:
        if sound is not None:
            for stream in sound.streams.audio:
                copied = container.add_stream_from_template(stream, opaque=True)
                copied.metadata.clear()
                outputs.append(copied)
            if len(outputs) > 1:
                sources.append(islice(_sound_packets(sound, sound_shifts), sound_packets))
        for _, number, packet in heapq.merge(*sources, key=lambda item: item[:2]):
            packet.stream = outputs[number]
            container.mux_one(packet)
    finally:
        if sound is not None:
            sound.close()


def _packets(path: Path) -> Iterator[Packet[Any]]:
    with av.open(path_for_ffmpeg(path)) as stretch:
        yield from (p for p in stretch.demux(stretch.streams.video[0]) if p.size)


def _positions(stretches: Sequence[Path]) -> list[int]:
    """Which picture each packet holds, counted through all stretches, in the order of decoding."""
    positions: list[int] = []
    for path in stretches:
        stamps = [packet.pts or 0 for packet in _packets(path)]
        rank = {stamp: i for i, stamp in enumerate(sorted(stamps))}
        start = len(positions)
        positions += [start + rank[stamp] for stamp in stamps]
    return positions


def _in_decoding_time(
    stretches: Sequence[Path], pts: Sequence[int], time_base: Fraction
) -> Iterator[_Timed]:
    """Packets with times of their own.

    Containers round and shift times, and every stretch starts decoding before its first picture is
    shown, which would be before the end of the previous one. Hence both times are set anew: packet
    i is decoded when picture ``i - delay`` is shown.
    """
    positions = _positions(stretches)
    if any(b <= a for a, b in pairwise(pts)):
        raise ValueError("Expected increasing `pts`.")
    if len(positions) != len(pts):
        raise ValueError(f"Expected one `pts` per picture, got {len(pts)} for {len(positions)}.")
    delay = max((i - position for i, position in enumerate(positions)), default=0)
    gaps = [b - a for a, b in pairwise(pts)] or [round(1 / (25 * time_base))]
    gaps.append(gaps[-1])
    packets = (packet for path in stretches for packet in _packets(path))
    for i, (position, packet) in enumerate(zip(positions, packets, strict=True)):
        packet.pts = pts[position]
        packet.dts = pts[i - delay] if i >= delay else pts[0] - (delay - i) * gaps[0]
        packet.time_base = time_base
        packet.duration = gaps[position]
        yield packet.dts * time_base, 0, packet


def _sound_packets(sound: InputContainer, shifts: Sequence[Fraction]) -> Iterator[_Timed]:
    streams = list(sound.streams.audio)
    part = [0] * len(streams)
    before: list[Fraction | None] = [None] * len(streams)
    last: list[Fraction | None] = [None] * len(streams)
    for packet in intact_packets(sound.demux(*streams)):  # type: ignore[arg-type]
        if not packet.size or packet.dts is None:
            continue
        number = streams.index(packet.stream)  # type: ignore[arg-type]
        unit = Fraction(packet.time_base)
        time = packet.dts * unit
        earlier, before[number] = before[number], time
        if earlier is not None and time < earlier - _LEAST_FALL:
            part[number] += 1
        if part[number] >= len(shifts):
            raise ValueError(_RESTARTS)
        steps = round(shifts[part[number]] / unit)
        packet.dts += steps
        packet.pts = None if packet.pts is None else packet.pts + steps
        time = packet.dts * unit
        # The sound of a part may be longer than its pictures: what overlaps the next part goes.
        previous = last[number]
        if len(shifts) > 1 and previous is not None and time <= previous:
            continue
        last[number] = time
        yield time, 1 + number, packet


def check_sound_times(path: Path, shifts: Sequence[Fraction]) -> None:
    """Refuse sound whose time stamps start again where those of the pictures do not.

    Args:
        path: the file.
        shifts: as ``sound_shifts`` of :func:`join_stretches`.

    Raises:
        ValueError: they do; names the remedy.
    """
    with av.open(path_for_ffmpeg(path)) as sound:
        if sound.streams.audio:
            for _ in _sound_packets(sound, shifts):
                pass
