"""Assets: cache, hashes, both kinds of source and the error texts, without a network."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dp3_lightning import assets
from dp3_lightning.assets import ASSETS, Asset, AssetUnavailableError, asset_path, list_assets

CONTENT = b"seventeen frames of nobody"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("DP3_CACHE", str(folder))
    return folder


def register(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> Asset:
    asset = Asset(name="toy", kind="clip", description="toy", licence="ours", **fields)
    monkeypatch.setitem(ASSETS, "toy", asset)
    return asset


def from_url(
    monkeypatch: pytest.MonkeyPatch, source: Path, content: bytes = CONTENT, **fields: Any
) -> Asset:
    source.write_bytes(content)
    fields = {"sha256": SHA256} | fields
    return register(monkeypatch, **({"urls": (source.as_uri(),), "filename": "toy.mp4"} | fields))


def from_package(
    monkeypatch: pytest.MonkeyPatch, member: str = "toys/data/toy.mp4", **fields: Any
) -> Asset:
    fields = {"sha256": SHA256} | fields
    return register(monkeypatch, package="toys", version="1.0", member=member, **fields)


def fake_pip(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[Path, Path], tuple[int, str]]
) -> list[list[str]]:
    """Replace pip by ``act(dest, temporary) -> (exit code, stderr)``; returns the commands run."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        dest = Path(command[command.index("--dest") + 1])
        temporary = Path(options["env"]["TMPDIR"])
        code, stderr = act(dest, temporary)
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def write_wheel(dest: Path, content: bytes = CONTENT, member: str = "toys/data/toy.mp4") -> None:
    with zipfile.ZipFile(dest / "toys-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toys/__init__.py", "")
        wheel.writestr(member, content)


def test_url_asset_is_fetched_once_and_then_served_from_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source.bin"
    from_url(monkeypatch, source)
    path = asset_path("toy")
    assert path == cache / "toy" / "toy.mp4"
    assert path.read_bytes() == CONTENT
    source.unlink()
    assert asset_path("toy") == path
    assert asset_path("toy", download=False) == path


def test_md5_and_mirrors_in_order(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "wrong.bin"
    wrong.write_bytes(b"an error page")
    right = tmp_path / "right.bin"
    urls = ((tmp_path / "gone").as_uri(), wrong.as_uri(), right.as_uri())
    from_url(monkeypatch, right, urls=urls, sha256="", md5=MD5)
    assert asset_path("toy").read_bytes() == CONTENT


def test_wheel_member(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_package(monkeypatch)

    def act(dest: Path, temporary: Path) -> tuple[int, str]:
        write_wheel(dest)
        return 0, ""

    commands = fake_pip(monkeypatch, act)
    assert asset_path("toy").read_bytes() == CONTENT
    assert asset_path("toy").read_bytes() == CONTENT
    assert len(commands) == 1
    assert "toys==1.0" in commands[0]
    assert "--only-binary" in commands[0]  # no code of the package may run


def test_a_folder_is_the_whole_wheel(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels: list[bytes] = []

    def act(dest: Path, temporary: Path) -> tuple[int, str]:
        write_wheel(dest)
        wheels.append((dest / "toys-1.0-py3-none-any.whl").read_bytes())
        return 0, ""

    fake_pip(monkeypatch, act)
    fields = {"member": "toys/data/", "filename": "toys.whl"}
    from_package(monkeypatch, **fields)
    with pytest.raises(
        AssetUnavailableError, match=r"refused.*\n(.*\n)*.*the wheel of the package"
    ):
        asset_path("toy")
    from_package(monkeypatch, **fields, sha256=hashlib.sha256(wheels[0]).hexdigest())
    path = asset_path("toy")
    assert path.name == "toys.whl"
    with zipfile.ZipFile(path) as wheel:
        assert wheel.read("toys/data/toy.mp4") == CONTENT


def write_source_archive(dest: Path) -> None:
    with tarfile.open(dest / "toys-1.0.tar.gz", "w:gz") as bundle:
        for name in ("toys-1.0/other/tests/toy.mp4", "toys-1.0/tests/toy.mp4"):
            content = CONTENT if name.count("/") == 2 else b"decoy"
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))


def test_source_archive_member_with_the_archive_hash_given_to_pip(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_package(monkeypatch, member="tests/toy.mp4", archive_sha256="ab" * 32)
    lines = []

    def act(dest: Path, temporary: Path) -> tuple[int, str]:
        lines.append((dest.parent / "requirements.txt").read_text())
        write_source_archive(dest)
        return 0, ""

    commands = fake_pip(monkeypatch, act)
    assert asset_path("toy").read_bytes() == CONTENT
    assert lines == [f"toys==1.0 --hash=sha256:{'ab' * 32}\n"]
    assert "--require-hashes" in commands[0]


def test_source_tree_that_pip_left_behind_when_metadata_failed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_package(monkeypatch, member="tests/toy.mp4", archive_sha256="ab" * 32)

    def act(dest: Path, temporary: Path) -> tuple[int, str]:
        folder = temporary / "pip-download-x" / "toys_1" / "tests"
        folder.mkdir(parents=True)
        (folder / "toy.mp4").write_bytes(CONTENT)
        return 1, "ERROR: no setuptools"

    fake_pip(monkeypatch, act)
    assert asset_path("toy").read_bytes() == CONTENT


def test_wrong_hash_in_the_cache_is_fetched_anew(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_url(monkeypatch, tmp_path / "source.bin")
    target = cache / "toy" / "toy.mp4"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"damaged")
    with pytest.raises(AssetUnavailableError, match="the cached file has sha256"):
        asset_path("toy", download=False)
    assert asset_path("toy").read_bytes() == CONTENT


@pytest.mark.parametrize("cached", [None, b"older file, wrong hash"])
def test_wrong_hash_from_the_source_is_refused_and_nothing_changes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bytes | None
) -> None:
    from_url(monkeypatch, tmp_path / "source.bin", content=b"tampered")
    target = cache / "toy" / "toy.mp4"
    if cached is not None:
        target.parent.mkdir(parents=True)
        target.write_bytes(cached)
    with pytest.raises(AssetUnavailableError, match="refused, the file has sha256"):
        asset_path("toy")
    left = [path.read_bytes() for path in target.parent.iterdir()]
    assert left == ([] if cached is None else [cached])


def test_offline_error_says_how_to_place_the_file_and_hides_the_registry(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_package(monkeypatch)
    complaint = (
        "WARNING: Retrying https://registry.example/simple\n"
        "ERROR: HTTPSConnectionPool(host='registry.example', port=443): "
        "failed to resolve 'registry.example' for https://registry.example/simple/toys/\n"
        "hint: none"
    )
    fake_pip(monkeypatch, lambda *_: (1, complaint))
    with pytest.raises(AssetUnavailableError) as caught:
        asset_path("toy")
    text = str(caught.value)
    for part in (str(cache / "toy" / "toy.mp4"), SHA256, "toys==1.0", "toys/data/toy.mp4"):
        assert part in text
    assert "registry.example" not in text
    assert "pip failed: ERROR: HTTPSConnectionPool" in text


def test_offline_error_of_a_url_asset_names_the_urls(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = (tmp_path / "gone.bin").as_uri()
    from_url(monkeypatch, tmp_path / "unused.bin", urls=(missing,))
    with pytest.raises(AssetUnavailableError) as caught:
        asset_path("toy")
    for part in (missing, str(cache / "toy" / "toy.mp4"), SHA256):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda dest: write_wheel(dest, member="toys/else.mp4"), "no member toys/data/toy.mp4"),
        (lambda dest: (dest / "toys.tar.gz").write_bytes(b"cut off"), "the archive is damaged"),
        (lambda dest: None, "left no archive"),
    ],
)
def test_useless_archives(
    cache: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], object], expected: str
) -> None:
    from_package(monkeypatch)
    fake_pip(monkeypatch, lambda dest, _: (write(dest), (0, ""))[1])
    with pytest.raises(AssetUnavailableError, match=expected):
        asset_path("toy")


def test_pip_that_hangs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_package(monkeypatch)

    def act(*_: Path) -> tuple[int, str]:
        raise subprocess.TimeoutExpired("pip", 1)

    fake_pip(monkeypatch, act)
    with pytest.raises(AssetUnavailableError, match="did not finish"):
        asset_path("toy")


def test_placed_by_hand_needs_no_source(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_package(monkeypatch)
    fake_pip(monkeypatch, lambda *_: pytest.fail("pip was run"))
    target = cache / "toy" / "toy.mp4"
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    assert asset_path("toy") == target


def test_the_target_never_exists_half_written(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_url(monkeypatch, tmp_path / "source.bin")
    target = cache / "toy" / "toy.mp4"
    seen = []
    replace = os.replace

    def watched(source: Path, destination: Path) -> None:
        if Path(destination) == target:
            seen.append((target.exists(), Path(source).read_bytes()))
        assert Path(source).stat().st_dev == target.parent.stat().st_dev
        replace(source, destination)

    monkeypatch.setattr(os, "replace", watched)
    asset_path("toy")
    assert seen == [(False, CONTENT)]
    assert list(target.parent.iterdir()) == [target]  # no scratch left


def test_concurrent_fetches_agree(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_url(monkeypatch, tmp_path / "source.bin")
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(asset_path("toy").read_bytes()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [CONTENT] * 8


def test_unknown_name_lists_near_names() -> None:
    with pytest.raises(ValueError, match=r"Unknown asset 'carfone'\. Did you mean 'carphone'"):
        asset_path("carfone")
    with pytest.raises(ValueError, match="Known names: carphone, speech"):
        asset_path("???")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DP3_CACHE", str(tmp_path))
    assert assets.cache_folder() == tmp_path
    monkeypatch.delenv("DP3_CACHE")
    assert assets.cache_folder().parts[-2:] == ("dp3_lightning", "assets")


def test_table_is_complete_and_well_formed() -> None:
    entries = list_assets()
    assert [entry.name for entry in entries] == list(ASSETS)
    kinds = {kind: [e.name for e in entries if e.kind == kind] for kind in ("clip", "weights")}
    assert kinds["clip"] == ["carphone", "speech", "actress", "smile", "no_face"]
    assert kinds["weights"] == ["fdf128", "fdf256", "fdh_cse", "fdh_nocse"]
    for entry in entries:
        algorithm, value = entry.digest
        assert len(bytes.fromhex(value)) == hashlib.new(algorithm).digest_size
        assert entry.licence
        assert entry.description
        assert "/" not in entry.basename


@pytest.mark.parametrize(
    "fields",
    [
        {"sha256": SHA256},
        {"package": "toys", "version": "1", "member": "m", "urls": ("u",), "sha256": SHA256},
        {"package": "toys", "version": "1", "sha256": SHA256},
        {"urls": ("u",), "filename": "f"},
        {"urls": ("u",), "filename": "f", "sha256": SHA256, "md5": MD5},
        {"urls": ("u",), "sha256": SHA256},
        {"package": "toys", "version": "1", "member": "m/", "sha256": SHA256},
        {
            "package": "toys",
            "version": "1",
            "member": "m/",
            "filename": "f",
            "archive_sha256": SHA256,
            "sha256": SHA256,
        },
    ],
)
def test_malformed_entries_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Asset 'toy'"):
        Asset(name="toy", kind="clip", description="d", licence="l", **fields)


@pytest.mark.assets
@pytest.mark.parametrize("name", ["carphone", "portrait_obama2", "centerface"])
def test_real_files_can_be_fetched(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DP3_CACHE", str(tmp_path))
    path = asset_path(name)
    algorithm, expected = ASSETS[name].digest
    assert hashlib.new(algorithm, path.read_bytes()).hexdigest() == expected
