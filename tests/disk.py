"""A disk under SQLite that fills up, fails to sync, and remembers what was written to it and when.

It is a VFS of SQLite around the system's own (https://www.sqlite.org/vfs.html), made the default one as long
as it is in place, so the ledger is tested as it ships. From what it remembers, the files can be made anew as
they were at any moment after a kill -9 or after a power cut.
"""

import _sqlite3  # the library that Python itself uses, wherever it lies
import contextlib
import ctypes
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SQLITE = ctypes.CDLL(_sqlite3.__file__)
_SECTOR = 512
_OK = 0
_KEPT: list[object] = []

_POINTER = ctypes.c_void_p
# Names are plain pointers: the file keeps that of its own, which must stay SQLite's.
_OPEN = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, _POINTER, ctypes.c_int, _POINTER)
_DELETE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, ctypes.c_int)
_WRITE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, ctypes.c_int, ctypes.c_int64)
_TRUNCATE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.c_int64)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.c_int)


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", _POINTER),
        ("name", ctypes.c_char_p),
        ("data", _POINTER),
        ("open", _OPEN),
        ("delete", _DELETE),
        ("others", _POINTER * 14),
    ]


class _Methods(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_int),
        ("close", _POINTER),
        ("read", _POINTER),
        ("write", _WRITE),
        ("truncate", _TRUNCATE),
        ("sync", _SYNC),
        ("others", _POINTER * 13),
    ]


class _File(ctypes.Structure):
    _fields_ = [("methods", ctypes.POINTER(_Methods))]


@dataclass(frozen=True)
class Event:
    """What happened to a file: write, truncate, sync or delete; or a `note` of the test."""

    kind: str
    file: str = ""
    offset: int = 0
    data: bytes = b""


class Disk:
    """The disk: `full` lets no write through, `unsyncable` no fsync. `events` is what got through."""

    def __init__(self) -> None:
        self.full = False
        self.unsyncable = False
        self.events: list[Event] = []
        self._files: dict[int, str] = {}
        self._wrapped: dict[int, _Methods] = {}

    def note(self, text: str) -> None:
        """Remembers between which writes something happened."""
        self.events.append(Event("note", text))

    @contextlib.contextmanager
    def in_place(self) -> Iterator["Disk"]:
        """Everything that opens a database meanwhile has it on this disk."""
        _SQLITE.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        system = _SQLITE.sqlite3_vfs_find(None)
        mine = _Vfs()
        ctypes.memmove(ctypes.byref(mine), system, ctypes.sizeof(_Vfs))
        mine.name = b"test-disk"
        self._open, self._delete = system.contents.open, system.contents.delete
        mine.open, mine.delete = _OPEN(self._on_open), _DELETE(self._on_delete)
        # Connections that a test leaves open, as the dead do, go on using it.
        _KEPT.append((self, mine))
        _SQLITE.sqlite3_vfs_register(ctypes.byref(mine), 1)
        try:
            yield self
        finally:
            _SQLITE.sqlite3_vfs_unregister(ctypes.byref(mine))
            _SQLITE.sqlite3_vfs_register(system, 1)

    def _on_open(self, vfs: Any, name: Any, file: Any, flags: int, out: Any) -> int:
        code = self._open(vfs, name, file, flags, out)
        if code == _OK and name:
            opened = _File.from_address(file)
            self._files[file] = _name_at(name)
            opened.methods = ctypes.pointer(self._wrap(opened.methods))
        return int(code)

    def _wrap(self, methods: Any) -> _Methods:
        system = methods.contents
        address = ctypes.addressof(system)
        if address not in self._wrapped:
            wrapped = _Methods()
            ctypes.memmove(ctypes.byref(wrapped), methods, ctypes.sizeof(_Methods))

            def write(file: Any, data: Any, size: int, offset: int) -> int:
                if self.full:
                    return sqlite3.SQLITE_FULL
                code = system.write(file, data, size, offset)
                self._remember(code, "write", file, offset, ctypes.string_at(data, size))
                return int(code)

            def truncate(file: Any, size: int) -> int:
                code = system.truncate(file, size)
                self._remember(code, "truncate", file, size)
                return int(code)

            def sync(file: Any, flags: int) -> int:
                if self.unsyncable:
                    return sqlite3.SQLITE_IOERR_FSYNC
                code = system.sync(file, flags)
                self._remember(code, "sync", file)
                return int(code)

            wrapped.write, wrapped.truncate, wrapped.sync = _WRITE(write), _TRUNCATE(truncate), _SYNC(sync)
            self._wrapped[address] = wrapped
        return self._wrapped[address]

    def _on_delete(self, vfs: Any, name: Any, durable: int) -> int:
        code = self._delete(vfs, name, durable)
        if code == _OK:
            self.events.append(Event("delete", _name_at(name)))
        return int(code)

    def _remember(self, code: int, kind: str, file: Any, offset: int = 0, data: bytes = b"") -> None:
        if code == _OK:
            self.events.append(Event(kind, self._files[file], offset, data))


def _name_at(address: int) -> str:
    return Path(ctypes.string_at(address).decode()).name


def after_kill(events: list[Event]) -> dict[str, bytes]:
    """The files after a kill -9 behind these events: the system has kept all that was written."""
    files: dict[str, bytearray] = {}
    for event in events:
        _apply(files, event)
    return {name: bytes(content) for name, content in files.items()}


def after_power_cut(events: list[Event], chance: random.Random) -> dict[str, bytes]:
    """The files after a power cut behind these events.

    What was synced is there. Of the writes since, each sector may be there or not, whatever their order.
    """
    files: dict[str, bytearray] = {}
    unsynced: dict[str, list[Event]] = {}
    for event in events:
        if event.kind in ("write", "truncate"):
            unsynced.setdefault(event.file, []).append(event)
        elif event.kind == "sync":
            for earlier in unsynced.pop(event.file, ()):
                _apply(files, earlier)
        elif event.kind == "delete":
            unsynced.pop(event.file, None)
            _apply(files, event)
    for event in (event for pending in unsynced.values() for event in pending):
        if event.kind == "truncate" and chance.random() < 0.5:
            _apply(files, event)
        for start in range(0, len(event.data), _SECTOR):
            if chance.random() < 0.5:
                sector = event.data[start : start + _SECTOR]
                _apply(files, Event("write", event.file, event.offset + start, sector))
    return {name: bytes(content) for name, content in files.items()}


def _apply(files: dict[str, bytearray], event: Event) -> None:
    if event.kind == "delete":
        files.pop(event.file, None)
    elif event.kind in ("write", "truncate"):
        content = files.setdefault(event.file, bytearray())
        content.extend(bytes(max(0, event.offset - len(content))))
        if event.kind == "write":
            content[event.offset : event.offset + len(event.data)] = event.data
        else:
            del content[event.offset :]
