"""What a backup holds: ``manifest.json``, and whether the files are what it says.

Rules of the file: only the files that a backup may hold are ever named; every byte of
them is under a BLAKE2b, so a backup that was damaged or is incomplete is refused whole.
"""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from gateway.state_files import CHECKPOINTS, JOURNAL, RESULTS
from ingest.config import ConfigError

MANIFEST = "manifest.json"
_NAME = re.compile(
    rf"{re.escape(JOURNAL)}|{re.escape(RESULTS)}|{CHECKPOINTS}/\d{{12}}\.checkpoint", re.ASCII
)
_BLOCK_BYTES = 1 << 20


class BackupFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file: its name within the backup, its size and its BLAKE2b (32 bytes, in hex)."""

    name: str
    bytes: int
    blake2b: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``manifest.json``.

    Attributes
    ----------
    fanous : the version of the program that made it
    store : the store's id
    created_ns : [ns] when the copying began
    journal_version, results_version : schema versions of the databases
    journal_id : the newest batch that the journal has ever had
    """

    schema: Literal["fanous.backup/1"] = "fanous.backup/1"
    fanous: str
    store: str
    created_ns: int
    journal_version: int
    results_version: int
    journal_id: int
    files: list[BackupFile]

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)


def described(directory: Path, name: str) -> BackupFile:
    """Return a file as the manifest lists it.

    Parameters
    ----------
    directory : of the backup
    name : within it
    """
    digest, size = _digest(directory / name)
    return BackupFile(name=name, bytes=size, blake2b=digest)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` and see that everything of the backup is on the disk.

    Parameters
    ----------
    directory : of the backup
    manifest : of it
    """
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    (directory / MANIFEST).write_bytes(text + b"\n")
    for name in (MANIFEST, *(file.name for file in manifest.files)):
        sync(directory / name)
    sync(directory / CHECKPOINTS)
    sync(directory)


def read_manifest(directory: Path) -> Manifest:
    """Read ``manifest.json``.

    Parameters
    ----------
    directory : of the backup

    Raises
    ------
    ConfigError
        It is no backup, or not one that this program can read.
    """
    path = directory / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); expected a directory that "
            "`fanous gateway backup` has made"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: expected a manifest of fanous.backup/1; it is damaged or of another version"
        ) from error
    names = [file.name for file in manifest.files]
    if not {JOURNAL, RESULTS} <= set(names) or not all(map(_NAME.fullmatch, names)):
        raise ConfigError(
            f"{path}: expected {JOURNAL}, {RESULTS} and files in {CHECKPOINTS}, found others"
        )
    return manifest


def copy_checked(
    source: Path, target: Path, manifest: Manifest, tell: Callable[[str], None]
) -> None:
    """Copy the files of a backup and see that each is what the manifest says.

    Parameters
    ----------
    source : the backup
    target : a directory of our own
    manifest : of the backup
    tell : told how far it is

    Raises
    ------
    ConfigError
        A file is missing, damaged or cannot be read.
    OSError
        The copy cannot be written.
    """
    (target / CHECKPOINTS).mkdir(mode=0o700)
    for number, file in enumerate(manifest.files, start=1):
        tell(f"file {number} of {len(manifest.files)}: {file.name}")
        try:
            digest, size = _digest(source / file.name, target / file.name)
        except _UnreadableError as error:
            raise ConfigError(f"{source / file.name}: cannot be read ({error})") from error
        if (digest, size) != (file.blake2b, file.bytes):
            raise ConfigError(
                f"{source / file.name}: expected {file.bytes} bytes as they were when the backup "
                f"was made, found {size} bytes that differ; take another backup"
            )
        sync(target / file.name)
    sync(target / CHECKPOINTS)


def sync(path: Path) -> None:
    """See that a file, or the names in a directory, are on the disk.

    Parameters
    ----------
    path : the file or directory
    """
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


class _UnreadableError(Exception):
    """The file to be read cannot be; not the one to be written."""


def _digest(path: Path, target: Path | None = None) -> tuple[str, int]:
    """Return BLAKE2b and size of a file, copying it on the way if there is a target."""
    found, size = hashlib.blake2b(digest_size=32), 0
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below; errors of two files are told apart)
    except OSError as error:
        raise _UnreadableError(error.strerror) from error
    with file, open(target or os.devnull, "wb") as copy:
        while True:
            try:
                block = file.read(_BLOCK_BYTES)
            except OSError as error:
                raise _UnreadableError(error.strerror) from error
            if not block:
                return found.hexdigest(), size
            found.update(block)
            size += len(block)
            copy.write(block)
