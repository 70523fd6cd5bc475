"""Align a face for the synthesis network by five points, as FFHQ does.

Karras et al., 2019 (FFHQ): the picture's axes follow eyes and mouth, its size the larger of the eye
distance and the distance from eyes to mouth, so that turned heads keep their size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dp3_lightning.structures import FloatArray

# Half the side of the picture in sides of FFHQ's rule, and the shift of its centre in half sides,
# (right, down): least squares over drawn faces between their own pictures and this rule.
_HALF_SIDE = 1.012
_SHIFT = (0.0, 0.0)


# Mean of eyes, nose and mouth corners of drawn faces, in the box that CenterFace puts around them.
_IN_BOX = np.array([[0.287, 0.397], [0.705, 0.396], [0.498, 0.606], [0.305, 0.732], [0.692, 0.730]])


def upright_points(box: npt.ArrayLike) -> FloatArray:
    """Return where the five points of an upright frontal face lie in a box, ``(5, 2)``.

    >>> upright_points((0, 0, 100, 100)).round(1).tolist()[2]  # the nose
    [49.8, 60.6]
    """
    x0, y0, x1, y1 = np.asarray(box, np.float64)
    points: FloatArray = np.array([x0, y0]) + _IN_BOX * np.array([x1 - x0, y1 - y0])
    return points


def align_matrix(five: npt.ArrayLike, size: int) -> FloatArray:
    """Return the similarity from a frame to an aligned picture, ``(2, 3)``.

    >>> five = upright_points((0, 0, 100, 100))
    >>> align_matrix(five, 256).shape
    (2, 3)

    Args:
        five: ``(5, 2)`` eyes, nose, mouth corners, each pair left to right in an upright picture,
            pixels of the frame.
        size: side of the aligned picture in pixels.
    """
    points = np.asarray(five, np.float64)
    across = points[1] - points[0]
    eyes = (points[0] + points[1]) / 2
    down = (points[3] + points[4]) / 2 - eyes
    x = across - np.array([-down[1], down[0]])
    x = x / max(float(np.hypot(*x)), 1e-9)
    half = _HALF_SIDE * max(float(np.hypot(*across)) * 2.0, float(np.hypot(*down)) * 1.8)
    y = np.array([-x[1], x[0]])
    center = eyes + 0.1 * down + half * (_SHIFT[0] * x + _SHIFT[1] * y)
    scale = size / 2 / max(half, 1e-9)
    rotation = scale * np.stack([x, y])
    matrix: FloatArray = np.column_stack([rotation, size / 2 - rotation @ center])
    return matrix
