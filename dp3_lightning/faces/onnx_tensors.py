"""Read the stored tensors of an ONNX file, without a package for ONNX.

Only what a pinned file needs: tensors of float32, int8 and int64, and weights that are quantised in
blocks. An ONNX file is a protobuf message; the numbers below are its fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dp3_lightning.structures import FloatArray

Tensors = dict[str, npt.NDArray[np.generic]]

_GRAPH, _INITIALIZER = 7, 5  # in a model, in a graph
_DIMS, _TYPE, _FLOATS, _NAME, _RAW = 1, 2, 4, 8, 9  # in a tensor
_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 3: np.dtype("i1"), 7: np.dtype("<i8")}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # kinds of field


def read_tensors(path: str | Path) -> Tensors:
    """Return the stored tensors of an ONNX file by name.

    Args:
        path: of the file.

    Returns:
        Arrays of float32, int8 or int64.

    Raises:
        ValueError: the file is damaged, or stores tensors in another way.
    """
    try:
        graph = _one(memoryview(Path(path).read_bytes()), _GRAPH)
        stored = (value for field, value in _fields(graph) if field == _INITIALIZER)
        return dict(_tensor(value) for value in stored if isinstance(value, memoryview))
    except (IndexError, KeyError, TypeError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(
            f"Expected an ONNX file with packed tensors of float32, int8 or int64, got {path} "
            f"({error}). Is it damaged?"
        ) from error


def dequantize(tensors: Mapping[str, npt.NDArray[np.generic]], name: str) -> FloatArray:
    """Return weights that are stored as int8 with a scale and a zero for each block of a row.

    >>> stored = {
    ...     "w_quantized": np.array([[1, 2, 3, 5]], np.int8),
    ...     "w_scales": np.array([[0.5, 10.0]], np.float32),
    ...     "w_zero_point": np.array([[0, 3]], np.int8),
    ...     "w_shape": np.array([2, 2]),
    ... }
    >>> dequantize(stored, "w").tolist()
    [[0.5, 1.0], [0.0, 20.0]]

    Args:
        tensors: as :func:`read_tensors` gives them.
        name: without ``_quantized``, ``_scales``, ``_zero_point`` and ``_shape``.

    Raises:
        ValueError: one of the four is missing, or they do not fit each other.
    """
    kinds = ("quantized", "scales", "zero_point", "shape")
    missing = [f"{name}_{kind}" for kind in kinds if f"{name}_{kind}" not in tensors]
    if missing:
        raise ValueError(f"Expected a file with the tensors {missing}, which it has not.")
    levels, scales, zeros, shape = (tensors[f"{name}_{kind}"] for kind in kinds)
    last = levels.shape[-1]
    if last % scales.shape[-1]:
        raise ValueError(f"Expected blocks that divide {last}, got {scales.shape[-1]} of {name!r}.")
    block = last // scales.shape[-1]
    # In float32, as a runtime does it, so that both have the same weights to the bit.
    centered = levels.astype(np.float32) - np.repeat(zeros.astype(np.float32), block, axis=-1)
    values = centered * np.repeat(scales.astype(np.float32), block, axis=-1)
    return values.astype(np.float64).reshape([int(side) for side in shape])


def _tensor(message: memoryview) -> tuple[str, npt.NDArray[np.generic]]:
    dims: list[int] = []
    found: dict[int, int | memoryview] = {}
    for field, value in _fields(message):
        if field == _DIMS and isinstance(value, int):
            dims.append(value)
        else:
            found[field] = value
    kind, label = found[_TYPE], found[_NAME]
    raw = found.get(_RAW, found.get(_FLOATS) if kind == 1 else None)
    name = bytes(label).decode() if isinstance(label, memoryview) else str(label)
    if not (isinstance(kind, int) and kind in _TYPES and isinstance(raw, memoryview)):
        raise ValueError(f"tensor {name!r} of type {kind}, or without packed data")
    return name, np.frombuffer(raw, _TYPES[kind]).reshape(dims)


def _one(message: memoryview, wanted: int) -> memoryview:
    for field, value in _fields(message):
        if field == wanted and isinstance(value, memoryview):
            return value
    raise ValueError(f"no field {wanted}")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"field of kind {kind} at byte {at}")
        if at + length > len(message):
            raise ValueError(f"{length} bytes announced at byte {at}, {len(message) - at} left")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = message[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError(f"number without an end at byte {at}")
