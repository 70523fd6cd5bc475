"""Hold rendered frames and the failures in them."""

from __future__ import annotations

from dataclasses import dataclass, field

from dp3_lightning.structures import UInt8Array


@dataclass(frozen=True)
class Failure:
    """Name one failure in one frame; the face is blurred there.

    Attributes:
        frame: index in the video.
        person: whose face, or empty for the whole frame.
        reason: the cause, in words.
        blurred: whether the face is blurred for it.
    """

    frame: int
    person: str
    reason: str
    blurred: bool = True


@dataclass
class Rendered:
    """Hold consecutive rendered frames and what happened to them.

    Attributes:
        frames: ``(H, W, 3)`` uint8 RGB each.
        failures: failed frames, in which the face is blurred.
        drawn: frame of every face that went through the generator.
        carried: frame of every face that was carried from drawn ones.
    """

    frames: list[UInt8Array]
    failures: list[Failure] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)
    carried: list[int] = field(default_factory=list)

    @property
    def n_drawn(self) -> int:
        """Return the number of faces drawn."""
        return len(self.drawn)

    @property
    def n_carried(self) -> int:
        """Return the number of faces carried."""
        return len(self.carried)
