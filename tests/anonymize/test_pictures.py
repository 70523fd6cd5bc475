"""What picture files may hold beside plain colours."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from dp3_lightning.anonymize.pictures import read_picture, write_picture
from dp3_lightning.structures import UInt8Array
from tests.anonymize.anonymize_fixtures import background, run

SECRET = (10, 200, 30)
# Primaries of Display P3 and of sRGB as ICC profiles give them, adapted to D50; columns R, G, B.
P3 = [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
SRGB = [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]


def wide_profile(gamma: float = 2.2) -> bytes:
    """A small ICC profile with the primaries of Display P3."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    text = b"wide\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642) + fixed(1.0) + fixed(0.8249),
        b"cprt": b"text" + bytes(4) + b"none\0",
    }
    for number, name in enumerate((b"r", b"g", b"b")):
        tags[name + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(fixed(row[number]) for row in P3)
        curve = struct.pack(">IH", 1, round(gamma * 256))
        tags[name + b"TRC"] = b"curv" + bytes(4) + curve
    table, content = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(content), len(data))
        content += data
    size = 128 + len(table) + len(content)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    return header + bytes(128 - len(header)) + table + content


def converted(levels: tuple[int, int, int], gamma: float = 2.2) -> list[int]:
    """The same colour in sRGB, by hand."""
    light = (np.array(levels) / 255) ** gamma
    linear = np.clip(np.linalg.inv(SRGB) @ (np.array(P3) @ light), 0, 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(curve * 255).astype(int).tolist()


def plain(color: tuple[int, int, int], size: tuple[int, int] = (24, 16)) -> Image.Image:
    return Image.new("RGB", size, color)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_wide_colours_become_srgb(tmp_path: Path, name: str) -> None:
    color = (200, 120, 80)
    options: dict[str, Any] = {"quality": 100} if name.endswith(("jpg", "webp")) else {}
    plain(color).save(tmp_path / name, icc_profile=wide_profile(), **options)
    picture = read_picture(tmp_path / name)
    np.testing.assert_allclose(picture[8, 8], converted(color), atol=3)
    assert np.abs(np.array(converted(color)) - color).max() > 8


def test_profile_and_turn_and_alpha_together(tmp_path: Path) -> None:
    image = Image.new("RGBA", (24, 16), (200, 120, 80, 255))
    image.paste((*SECRET, 0), (0, 0, 24, 4))  # on top, which the turn puts on the right
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", icc_profile=wide_profile(), exif=exif)
    picture = read_picture(tmp_path / "a.png")
    assert picture.shape == (24, 16, 3)
    np.testing.assert_allclose(picture[12, 4], converted((200, 120, 80)), atol=3)
    np.testing.assert_array_equal(picture[12, 14], 255)


def test_srgb_profile_and_broken_profile_leave_colours_alone(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    notes: list[str] = []
    for profile in (srgb, b"no profile"):
        plain((200, 120, 80)).save(tmp_path / "a.png", icc_profile=profile)
        picture = read_picture(tmp_path / "a.png", notes=notes)
        np.testing.assert_array_equal(picture[8, 8], (200, 120, 80))
    assert len(notes) == 1
    assert "profile" in notes[0]


def test_grey_picture_with_a_profile_of_colours(tmp_path: Path) -> None:
    Image.new("L", (24, 16), 120).save(tmp_path / "a.png", icc_profile=wide_profile())
    picture = read_picture(tmp_path / "a.png")
    assert np.ptp(picture[8, 8].astype(int)) <= 2
    assert abs(int(picture[8, 8, 0]) - 120) < 8


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_inks_become_colours(tmp_path: Path, name: str) -> None:
    Image.new("CMYK", (24, 16), (0, 255, 255, 0)).save(tmp_path / name)
    red = read_picture(tmp_path / name)[8, 8].astype(int)
    assert red[0] > 200
    assert max(red[1], red[2]) < 60


def transparent(mode: str, path: Path) -> None:
    """Half of a picture whose colour nobody is meant to see."""
    image = Image.new("RGBA", (32, 16), (90, 90, 90, 255))
    image.paste((*SECRET, 0), (16, 0, 32, 16))
    if mode == "P":
        indexed = Image.new("P", (32, 16), 0)
        indexed.putpalette([90, 90, 90, *SECRET])
        indexed.paste(1, (16, 0, 32, 16))
        indexed.save(path, transparency=1)
    elif mode == "RGB":
        image.convert("RGB").save(path, transparency=SECRET)
    else:
        image.convert(mode).save(path, lossless=True, exact=True)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("RGBA", "a.png"),
        ("LA", "a.png"),
        ("P", "a.png"),
        ("RGB", "a.png"),
        ("RGBA", "a.webp"),
        ("RGBA", "a.tif"),
    ],
)
def test_what_was_erased_stays_invisible(tmp_path: Path, mode: str, name: str) -> None:
    transparent(mode, tmp_path / name)
    notes: list[str] = []
    picture = read_picture(tmp_path / name, notes=notes)
    np.testing.assert_array_equal(picture[:, 17:], 255)
    np.testing.assert_array_equal(picture[:, :15], 90)
    assert any("transparent" in note for note in notes)


def test_output_and_manifest_of_a_transparent_picture(tmp_path: Path) -> None:
    transparent("RGBA", tmp_path / "a.png")
    outcome = run(tmp_path / "a.png", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as made:
        assert not (np.asarray(made.convert("RGB")) == SECRET).all(axis=-1).any()
    assert any("white" in note for note in outcome.notes)


def test_opaque_alpha_changes_nothing(tmp_path: Path) -> None:
    image = Image.fromarray(background()).convert("RGBA")
    image.save(tmp_path / "a.png")
    notes: list[str] = []
    picture = read_picture(tmp_path / "a.png", notes=notes)
    np.testing.assert_array_equal(picture, background())
    assert notes == []


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif", "a.tiff"])
def test_several_pictures_in_one_file_are_refused(tmp_path: Path, name: str) -> None:
    pages = [plain((40 * i, 90, 200)) for i in range(3)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match=r"holds 3 pictures.*\.gif or \.mp4"):
        read_picture(tmp_path / name)
    with pytest.raises(ValueError, match="holds 3 pictures"):
        run(tmp_path / name, tmp_path / f"out_{name}")
    assert not (tmp_path / f"out_{name}").exists()


def test_a_thumbnail_page_is_no_second_picture(tmp_path: Path) -> None:
    data = io.BytesIO()
    small = Image.new("RGB", (8, 8))
    small.encoderinfo = {"tiffinfo": {254: 1}}  # type: ignore[attr-defined]
    plain((40, 90, 200)).save(data, "TIFF", save_all=True, append_images=[small])
    (tmp_path / "a.tif").write_bytes(data.getvalue())
    assert read_picture(tmp_path / "a.tif").shape == (16, 24, 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_damaged_or_empty_files_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="Cannot read"):
        read_picture(path)
    Image.fromarray(background()).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="Cannot read"):
        read_picture(path)


def test_cut_off_transparent_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"Cannot read .*a\.png"):
        read_picture(tmp_path / "a.png")


def test_written_pictures_read_the_same(tmp_path: Path) -> None:
    picture: UInt8Array = background()
    write_picture(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), picture)
