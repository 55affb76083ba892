"""The SQLite file: opened late, migrated, and quarantined when it is damaged. What it holds is for `store`.

A rollback journal, not WAL: it needs no shared memory, so that progress works on network folders and can be
read where nothing may be written.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from grader.errors import GraderError, PracticeError
from grader.files import cannot_write
from grader.workspace import quoted

T = TypeVar("T")

WAIT_SECONDS: Final = 2.0

MIGRATIONS: Final[list[tuple[str, ...]]] = [
    (
        """CREATE TABLE attempts (
            id INTEGER PRIMARY KEY,
            exercise TEXT NOT NULL,
            at REAL NOT NULL,
            score INTEGER NOT NULL,
            max_score INTEGER NOT NULL,
            passed INTEGER NOT NULL,
            seconds REAL NOT NULL,
            data TEXT NOT NULL,
            full INTEGER NOT NULL,
            sha256 TEXT NOT NULL,
            source BLOB NOT NULL,
            scorecard TEXT NOT NULL
        )""",
        "CREATE INDEX attempts_by_exercise ON attempts (exercise, id)",
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY,
            exercise TEXT NOT NULL,
            at REAL NOT NULL,
            kind TEXT NOT NULL,
            number INTEGER NOT NULL DEFAULT 0
        )""",
        "CREATE INDEX events_by_exercise ON events (exercise, kind)",
    ),
]
"""Step n takes a file of version n to n + 1. Steps are only ever added."""


class _Damaged(Exception):
    """The file is no progress database, or no longer one."""


class Database:
    """One progress file. Reading a file that doesn't exist finds nothing and creates nothing."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path = path
        self._say = say
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None  # device and inode of the open file; None in memory

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._opened = None

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._run(work, write=False)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction: whole or not at all."""
        return self._run(lambda connection: _in_transaction(connection, work), write=True)

    def _run(self, work: Callable[[sqlite3.Connection], T], *, write: bool) -> T:
        try:
            return self._once(work, write)
        except _Damaged as damage:
            self._quarantine(str(damage))
        try:
            return self._once(work, write)
        except _Damaged as damage:
            raise PracticeError(
                f"Your progress in {self.path} can't be used: {damage}.",
                hint=f"Move it away by hand: `mv {quoted(self.path)} {quoted(self._free_name())}`.",
            ) from damage

    def _once(self, work: Callable[[sqlite3.Connection], T], write: bool) -> T:
        try:
            return work(self._connect(write))
        except sqlite3.DatabaseError as error:
            self.close()
            raise self._explained(error) from error

    def _connect(self, write: bool) -> sqlite3.Connection:
        if self._connection is not None and (self._opened is not None or not write):
            return self._connection
        self.close()
        exists = self.path.exists()
        if write and not exists:
            self._make_folder()
        if exists and _was_emptied(self.path):
            self._say(f"{self.path} was empty: earlier attempts are gone, a new record begins.")
        place = str(self.path) if exists or write else ":memory:"
        connection = sqlite3.connect(place, timeout=WAIT_SECONDS, isolation_level=None)
        self._connection = connection
        _migrate(connection, self.path)
        self._opened = _identity(self.path) if place != ":memory:" else None
        return connection

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path.parent, error) from error

    def _explained(self, error: sqlite3.DatabaseError) -> Exception:
        """What an error of SQLite means for the person in front of it."""
        folder = quoted(self.path.parent)
        permissions = f"See `ls -la {folder}`, or use a workspace elsewhere: `practice init DIR`."
        code = _code(error)
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            return _Damaged(str(error))
        reasons = {
            sqlite3.SQLITE_BUSY: (
                f"it is locked by another process, and stayed so for {WAIT_SECONDS:.0f} seconds",
                "Wait for the other `practice` to end, then run the command again.",
            ),
            sqlite3.SQLITE_FULL: (
                "the disk is full",
                "Free some space, then run the command again; nothing was lost.",
            ),
            sqlite3.SQLITE_READONLY: (
                "it may not be written",
                permissions,
            ),
            sqlite3.SQLITE_CANTOPEN: (
                "it can't be opened",
                permissions,
            ),
            sqlite3.SQLITE_IOERR: (
                "the system failed to read or write it (a full disk, a quota, or a size limit)",
                "See `df -h` and `ulimit -f`, then run the command again; nothing was lost.",
            ),
        }
        what, hint = reasons.get(code, (str(error), "Run the command again with --debug, and report it."))
        return PracticeError(f"Your progress in {self.path} can't be used: {what}.", hint=hint)

    def _quarantine(self, damage: str) -> None:
        """Put the damaged file aside and say so, unless another process already did."""
        opened = self._opened or _identity(self.path)
        self.close()
        if _identity(self.path) != opened or opened is None:
            return
        aside = self._free_name()
        try:
            self.path.replace(aside)
            for suffix in ("-journal", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").replace(f"{aside}{suffix}")
        except OSError as error:
            raise PracticeError(
                f"Your progress in {self.path} is damaged ({damage}), and it can't be moved aside: {error.strerror}.",
                hint=f"Move it away by hand: `mv {quoted(self.path)} {quoted(aside)}`.",
            ) from error
        self._say(
            f"Your progress file is damaged ({damage}). It was kept as {aside}, and a new one begins. "
            "Your exercises are untouched."
        )

    def _free_name(self) -> Path:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        name = self.path.with_name(f"{self.path.stem}.damaged-{stamp}{self.path.suffix}")
        count = 1
        while name.exists():
            count += 1
            name = self.path.with_name(f"{self.path.stem}.damaged-{stamp}-{count}{self.path.suffix}")
        return name


def _in_transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return result


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    if version == len(MIGRATIONS):
        return
    if version > len(MIGRATIONS):
        raise PracticeError(
            f"Your progress in {path} was written by a newer version of the kit (schema {version}; "
            f"this one knows up to {len(MIGRATIONS)}).",
            hint="Upgrade with `pip install --upgrade practice-vision`, or use another workspace: `practice init DIR`.",
        )
    _in_transaction(connection, _steps)


def _steps(connection: sqlite3.Connection) -> None:
    version = _version(connection)  # asked again: another process may have been first
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise sqlite3.DatabaseError("it holds the tables of another program")
    try:
        for statement in (statement for step in MIGRATIONS[version:] for statement in step):
            connection.execute(statement)
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_ERROR:  # a full disk and the like: said by the caller
            raise
        raise GraderError(
            f"Your progress can't be brought from schema {version} to {len(MIGRATIONS)}: {error}.",
            hint="Nothing was changed. Run the command again with --debug, and report it.",
        ) from error
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _was_emptied(path: Path) -> bool:
    """Whether the file lost its content. One that is empty and brand-new is being made by another process."""
    status = path.stat()
    return status.st_size == 0 and time.time() - status.st_mtime > 5


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; errors that no statement caused have none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
