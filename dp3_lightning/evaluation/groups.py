"""Figures of many faces, told apart by how large a face is and which tone its skin has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from dp3_lightning.metrics import by_group, size_group, tone_group

# Name: figure, figure that decides the group, name of the group.
GROUPED: dict[str, tuple[str, str, Callable[[float], str]]] = {
    "sharpness by face size": ("sharpness", "face size", size_group),
    "skin difference by tone": ("skin difference", "skin lightness, original", tone_group),
}


def grouped(faces: Sequence[Mapping[str, float]], name: str) -> dict[str, dict[str, float]]:
    """Take the median of a figure over the faces of every group.

    Args:
        faces: figures of every face.
        name: of :data:`GROUPED`.

    Returns:
        Group to ``median`` and ``n``.

    Raises:
        ValueError: no face has both figures.
    """
    figure, of, group = GROUPED[name]
    pairs = [(values.get(figure, math.nan), values.get(of, math.nan)) for values in faces]
    known = [pair for pair in pairs if all(map(math.isfinite, pair))]
    if not known:
        raise ValueError(f"No face has {figure!r} and {of!r}.")
    return by_group([value for value, _ in known], [group(decides) for _, decides in known])
