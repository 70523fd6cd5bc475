"""Define the options of a run, besides those of the plan and of drawing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from dp3_lightning.checks import check_above, check_at_least, check_between, check_choice
from dp3_lightning.faces import detector_named

AudioPolicy = Literal["drop", "copy"]
Precision = Literal["auto", "32", "bf16", "16"]

_CODECS = {".webm": "libvpx-vp9", ".gif": "gif"}  # others: H.264, which every player shows


@dataclass(frozen=True)
class PersonOptions:
    """Choose the fake person that each person becomes.

    Attributes:
        truncation: 0 gives every person the generator's average face, 1 the face of the latent;
            between, plausible and still different. Default: the generator's, 0.5 for
            DeepPrivacy2's and 1 for the face prior.
        multi_modal: pull to one of several typical people instead of the average (DeepPrivacy2's
            multi-modal truncation; needs weights with ``w_centers``).
        seed: repeatable latents, for research; recorded in the manifest. Default: random ones that
            are forgotten.
        person: which candidate is drawn, as numbered on the contact sheet of ``--sheet``.
        pseudonym_key: secret by which people who were given a label in the plan get the same face
            in every video.

    Raises:
        ValueError: a value out of range, named.
    """

    truncation: float | None = None
    multi_modal: bool = False
    seed: int | None = None
    pseudonym_key: str | None = field(default=None, repr=False)
    person: int = 1

    def __post_init__(self) -> None:
        check_at_least(1, person=self.person)
        if self.truncation is not None:
            check_between(0, 1, truncation=self.truncation)


@dataclass(frozen=True)
class OutputOptions:
    """Choose how the result is written.

    Attributes:
        audio: ``drop`` or ``copy``. Dropped unless asked for, because a voice identifies a person
            as well as a face does.
        codec: FFmpeg's name of the encoder; default: H.264, VP9 in WebM.
        crf: constant rate factor; lower is better and larger.
        encoder_options: further options of the encoder, by FFmpeg's names.
        deep_color: what to do with more than 8 bits per colour: ``refuse``, or ``convert`` to 8
            (bands may show in skies; high dynamic range is always refused).
        overwrite: replace an existing output.

    Raises:
        ValueError: a value out of range, named.
    """

    audio: AudioPolicy = "drop"
    codec: str | None = None
    crf: int = 18
    encoder_options: Mapping[str, str] = field(default_factory=dict)
    deep_color: Literal["refuse", "convert"] = "refuse"
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_choice(get_args(AudioPolicy), audio=self.audio)
        check_choice(("refuse", "convert"), deep_color=self.deep_color)
        check_between(0, 63, crf=self.crf)

    def codec_for(self, path: Path) -> str:
        """Return the name of the encoder for an output file."""
        return self.codec or _CODECS.get(path.suffix.lower(), "libx264")


@dataclass(frozen=True)
class CheckOptions:
    """Choose how the result is checked.

    Attributes:
        verify: detect faces in the rendered frames; what is not covered is blurred.
        check_detector: what detects them: ``auto`` (of another family than the plan's, at full
            resolution; the plan's own as well when a plan was given, which may have been edited),
            ``same`` (the plan's own), or a detector by name.
        verify_score: score from which a face found there counts.
        identity_check: compare faces in the result with real ones: ``auto`` when the recogniser can
            be had, ``required``, or ``off``.
        recogniser: ``sface`` (needs nothing further), or ``dlib`` (extra ``verify``).
        identity_every: frames of a track from one comparison to the next; there are five at least,
            where a track has as many frames.
        identity_threshold: distance below which a face in the result counts as the real person;
            default: the recogniser's.

    Raises:
        ValueError: a value out of range, named.
    """

    verify: bool = True
    check_detector: str = "auto"
    verify_score: float = 0.5
    identity_check: Literal["auto", "required", "off"] = "auto"
    recogniser: Literal["sface", "dlib"] = "sface"
    identity_every: int = 50
    identity_threshold: float | None = None

    def __post_init__(self) -> None:
        check_choice(("auto", "required", "off"), identity_check=self.identity_check)
        check_choice(("sface", "dlib"), recogniser=self.recogniser)
        if self.check_detector.lower() not in ("auto", "same"):
            detector_named(self.check_detector)
        check_between(0, 1, verify_score=self.verify_score)
        check_at_least(1, identity_every=self.identity_every)
        if self.identity_threshold is not None:
            check_above(0, identity_threshold=self.identity_threshold)


@dataclass(frozen=True)
class DeviceOptions:
    """Choose the device and the precision of the generator.

    Attributes:
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1``, ...
        precision: ``auto``: 32 for DeepPrivacy2's generators, bf16 for the face prior. ``bf16``
            draws about twice as fast where the processor has it, and looks the same (48 to
            54 dB); ``16`` for GPUs.
    """

    device: str = "auto"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        check_choice(get_args(Precision), precision=self.precision)
