"""Keep the finished parts of a run in a folder beside the output, until it is complete.

It holds the plan, the secret of this run, drawn faces for the report, and stretches of anonymized
video. No original pixels.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from dp3_lightning.anonymize.planning.plan import Plan, read_plan, write_plan
from dp3_lightning.runtime.files import replaced, write_json
from dp3_lightning.structures import UInt8Array

_STATE = "run.json"


def digest_of(data: Any) -> str:
    """Return the SHA-256 of plain data."""
    text = json.dumps(data, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Workspace:
    """Store the finished parts of one run.

    Args:
        output: the target file.
        run_key: hash of everything that decides the result; another one starts afresh.
        private: a further part of it that must not be written down.

    Attributes:
        folder: ``.NAME.dp3work`` beside the output, readable by its owner only.
        secret: random bytes that the pseudonyms of this run come from. They outlive a crash, so
            that people keep their faces, and go with the folder when the run is complete.

    Raises:
        FileExistsError: another run is at this output.
    """

    def __init__(self, output: Path, run_key: str, private: str = "") -> None:
        self.folder = output.with_name(f".{output.name}.dp3work")
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._lock = _locked_folder(self.folder)
        state = self.folder / _STATE
        known = _read_json(state)
        if known is None or known.get("run_key") != run_key or not _fits(known, private):
            for path in self.folder.iterdir():
                path.unlink()
            secret = secrets.token_hex(32)
            known = {"run_key": run_key, "secret": secret, "private": _locked(private, secret)}
            write_json(state, known)
            state.chmod(0o600)
        for pattern in (".*.partial*", "joined.*"):
            for leftover in self.folder.glob(pattern):
                leftover.unlink(missing_ok=True)
        self.secret = bytes.fromhex(known["secret"])

    def plan(self) -> Plan | None:
        """Return the stored plan, if there is a whole one."""
        path = self.folder / "plan.json"
        try:
            return read_plan(path)
        except (OSError, ValueError):
            return None

    def keep_plan(self, plan: Plan) -> Plan:
        """Store the plan; returns it as it was stored."""
        return read_plan(write_plan(plan, self.folder / "plan.json"))

    def keep_people(self, people: Mapping[str, UInt8Array]) -> None:
        """Store the faces that were drawn, for the report of a run that is gone on with."""
        path = self.folder / "people.npz"
        if not people:
            path.unlink(missing_ok=True)
            return
        pictures = {f"picture {n}": picture for n, picture in enumerate(people.values())}
        with replaced(path) as partial:
            np.savez(partial, people=np.array(list(people), np.str_), **pictures)  # type: ignore[arg-type]

    def people(self) -> dict[str, UInt8Array]:
        """Return the stored faces by person; empty when there are none, or they are damaged."""
        try:
            with np.load(self.folder / "people.npz", allow_pickle=False) as stored:
                names = [str(name) for name in stored["people"]]
                return {name: stored[f"picture {n}"] for n, name in enumerate(names)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return {}

    def stretch(self, number: int) -> Path:
        """Return the path of the video of part ``number``."""
        return self.folder / f"stretch-{number:05d}.nut"

    def record(self, number: int, key: str) -> dict[str, Any] | None:
        """Return the record of a finished part, if it was made with this key."""
        record = _read_json(self.stretch(number).with_suffix(".json"))
        whole = record is not None and record.get("key") == key and self.stretch(number).is_file()
        return record if whole else None

    def keep_record(self, number: int, key: str, record: Mapping[str, Any]) -> None:
        """Mark a part as finished."""
        write_json(self.stretch(number).with_suffix(".json"), {"key": key, **record})

    def remove(self) -> None:
        """Delete the folder: the output is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def remove_if_unused(self) -> None:
        """Delete the folder when there is nothing in it yet that a later run could go on from."""
        if [path.name for path in self.folder.iterdir()] == [_STATE]:
            self.remove()

    def close(self) -> None:
        """Unlock the folder for other runs; its content stays."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _locked_folder(folder: Path) -> int | None:
    """Lock a folder for this process; the lock ends with the process, however that ends.

    Returns:
        The lock to close; None on systems without such locks.
    """
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise FileExistsError(
            f"Another run is writing {folder.name.removeprefix('.').removesuffix('.dp3work')!r} "
            "now: wait for it, or choose another output."
        ) from error
    return descriptor


def _locked(private: str, secret: str) -> str:
    """Hash ``private`` slowly: equal secrets match, but the secret is slow to guess."""
    if not private:
        return ""  # scrypt takes as long as a dozen frames
    return hashlib.scrypt(private.encode(), salt=secret.encode(), n=2**14, r=8, p=1).hex()


def _fits(known: Mapping[str, Any], private: str) -> bool:
    stored, secret = known.get("private"), known.get("secret")
    return bool(secret) and stored == _locked(private, str(secret))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
