"""What rendering a stretch of a video gives."""

from __future__ import annotations

from dataclasses import dataclass, field

from dp3_lightning.structures import UInt8Array


@dataclass(frozen=True)
class Failure:
    """Something that went wrong in one frame, which is blurred there.

    Attributes:
        frame: index in the video.
        person: whose face, or empty for the whole frame.
        reason: what happened.
        blurred: whether the face is blurred for it.
    """

    frame: int
    person: str
    reason: str
    blurred: bool = True


@dataclass
class Rendered:
    """Frames of one stretch and what happened to them.

    Attributes:
        frames: ``(H, W, 3)`` uint8 RGB each.
        failures: what was blurred because something failed.
        drawn: frame of every face that went through the generator.
        carried: frame of every face that was carried from drawn ones.
    """

    frames: list[UInt8Array]
    failures: list[Failure] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)
    carried: list[int] = field(default_factory=list)

    @property
    def n_drawn(self) -> int:
        """Number of faces drawn."""
        return len(self.drawn)

    @property
    def n_carried(self) -> int:
        """Number of faces carried."""
        return len(self.carried)
