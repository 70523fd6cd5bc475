"""Compute soft edges that never uncover the box inside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dp3_lightning.structures import FloatArray, Window


def pixel_region(
    box: Sequence[float], frame_size: Sequence[int], band: float = 0.0
) -> Window | None:
    """Return the whole pixels that a float box touches, inside the frame; None when there are none.

    >>> pixel_region((1.2, -3.0, 4.0, 2.5), (10, 10))
    (1, 0, 4, 3)

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels, float.
        frame_size: ``(height, width)``.
        band: pixels to grow the box by on every side first.
    """
    height, width = int(frame_size[0]), int(frame_size[1])
    x0, y0 = max(int(np.floor(box[0] - band)), 0), max(int(np.floor(box[1] - band)), 0)
    x1 = min(int(np.ceil(box[2] + band)), width)
    y1 = min(int(np.ceil(box[3] + band)), height)
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def outward_share(region: Window, box: Sequence[float], band: float) -> npt.NDArray[np.float32]:
    """Return the opacity of a pasted crop: 1 on every pixel that the box touches, then falling.

    It reaches 0 at the outer edge of a band around the box. The edge is outside: feathering
    inwards would leave a part of the face in sight.

    >>> outward_share((0, 0, 5, 1), (0, 0, 2, 1), band=2.0)[0, :, 0].tolist()
    [1.0, 1.0, 1.0, 0.5, 0.0]

    Args:
        region: pixels to give the share of.
        box: ``(x0, y0, x1, y1)`` float, pixels of the frame.
        band: width of the band in pixels.

    Returns:
        ``(y1 - y0, x1 - x0, 1)`` float32 in [0, 1].
    """
    along_x = _along(np.arange(region[0], region[2], dtype=np.float64), box[0], box[2], band)
    along_y = _along(np.arange(region[1], region[3], dtype=np.float64), box[1], box[3], band)
    share: npt.NDArray[np.float32] = (along_y[:, None] * along_x)[..., None].astype(np.float32)
    return share


def _along(pixels: FloatArray, low: float, high: float, band: float) -> FloatArray:
    centers = pixels + 0.5
    distance = np.maximum(np.maximum(low - centers, centers - high), 0.0) - 0.5
    share = np.clip(1 - distance / max(band, 1e-6), 0.0, 1.0)
    smooth: FloatArray = share * share * (3 - 2 * share)
    return smooth
