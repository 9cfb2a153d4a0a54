"""A backup put in the place of a gateway's state.

Rules of the file: everything is copied beside the state and checked there before the
first old file moves; the state directory is locked all the while, so no gateway runs. Old
files are moved away before the new ones come, so no database ever meets the write-ahead
log of another. An archive stays and goes on from where the restored journal is.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from gateway.archive import rewind
from gateway.assembly import lock_state_dir
from gateway.backup_manifest import Manifest, copy_checked, read_manifest, sync
from gateway.state_files import (
    ARCHIVE,
    CHECKPOINTS,
    JOURNAL,
    RESULTS,
    refuse_newer,
)
from ingest.config import ConfigError

_NEW, _OLD = "restore.new", "restore.old"
_REPLACED = (
    *(f"{name}{end}" for name in (JOURNAL, RESULTS) for end in ("", "-wal", "-shm", "-journal")),
    CHECKPOINTS,
)


def restore_backup(
    state_dir: Path, store: str, source: Path, *, force: bool, tell: Callable[[str], None]
) -> Manifest:
    """Put a backup in place.

    Parameters
    ----------
    state_dir : exists and can be written
    store : the store's id
    source : a directory that `gateway.backup.write_backup` has made
    force : replace the state that is there
    tell : told how far it is

    Returns
    -------
    Manifest
        Of the backup.

    Raises
    ------
    ConfigError
        The backup is damaged, of another store or of a newer program, a gateway runs, or
        there is a state and `force` is false; the state is as it was.
    OSError
        The disk does not take it.

    Notes
    -----
    Until the last moment the state is as it was. Who is cut off between the few renamings
    at the end gives the command again, with ``--force``.
    """
    manifest = read_manifest(source)
    if manifest.store != store:
        raise ConfigError(
            f"{source}: expected a backup of store '{store}', got one of '{manifest.store}'"
        )
    refuse_newer(source)
    with lock_state_dir(state_dir):
        held = [name for name in _REPLACED if _is_held(state_dir / name)]
        if held and not force:
            raise ConfigError(
                f"state_dir {state_dir}: expected none or an empty one, found {held[0]}; "
                "choose another or say --force"
            )
        made, old = state_dir / _NEW, state_dir / _OLD
        for left in (made, old):
            shutil.rmtree(left, ignore_errors=True)
        made.mkdir(mode=0o700)
        try:
            copy_checked(source, made, manifest, tell)
            # Before the exchange: an archive that repeats rows does no harm, one with a hole does.
            rewind(state_dir / ARCHIVE, store, manifest.journal_id, str(manifest.created_ns))
            _exchange(state_dir, made, old)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return manifest


def _exchange(state_dir: Path, made: Path, old: Path) -> None:
    old.mkdir(mode=0o700)
    for name in _REPLACED:
        if (state_dir / name).exists():
            (state_dir / name).rename(old / name)
    # The results come last: they must not stand beside a journal that does not reach as far.
    for name in (JOURNAL, CHECKPOINTS, RESULTS):
        (made / name).rename(state_dir / name)
    sync(state_dir)


def _is_held(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()
