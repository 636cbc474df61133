"""How far a verb or a file is, on stderr: a bar on a terminal, elsewhere a line now and then."""

import time
from typing import Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar

from ovirt_provision.cli.output import console, note, size
from ovirt_provision.v1.resources_pb2 import Operation

_PERCENT_PER_LINE = 10


class _Shown:
    """What has a bar as long as it is entered, if there is a terminal."""

    def __init__(self, *columns: ProgressColumn) -> None:
        errors = console(stderr=True)
        self._bar = Bar(*columns, console=errors, transient=True) if errors.is_terminal else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()


class Progress(_Shown):
    """Shows a running operation: where there is no terminal, in a line for each phase and each 10 %."""

    def __init__(self) -> None:
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}", markup=False, style="dim"),
        )
        self._started = time.monotonic()
        self._phase = ""
        self._printed_percent = 0
        self._printed_bytes = 0
        self._task: TaskID | None = None

    def show(self, operation: Operation) -> None:
        """Shows the operation as it is now."""
        undoing = operation.state == Operation.STATE_UNDOING
        phase = f"{operation.phase} (undoing)" if undoing else operation.phase
        if self._bar:
            description = f"{operation.verb}: {phase}" if phase else operation.verb
            if self._task is None:
                self._task = self._bar.add_task(description, total=100, doing="")
            self._bar.update(
                self._task, description=description, completed=operation.percent, doing=operation.progress
            )
        elif phase and (phase != self._phase or self._is_further(operation)):
            self._printed_percent = operation.percent - operation.percent % _PERCENT_PER_LINE
            self._printed_bytes = operation.transferred.done_bytes
            doing = f": {operation.progress}" if operation.progress else ""
            seconds = time.monotonic() - self._started
            note(f"[{seconds:6.1f} s] {operation.verb} {operation.percent:3d} % {phase}{doing}")
        self._phase = phase

    def _is_further(self, operation: Operation) -> bool:
        moved = operation.transferred
        if (moved.done_bytes - self._printed_bytes) * _PERCENT_PER_LINE >= moved.total_bytes > 0:
            return True
        return operation.percent >= self._printed_percent + _PERCENT_PER_LINE


class Bytes(_Shown):
    """Shows how far the bytes of a file are: where there is no terminal, in a line for each 10 %."""

    def __init__(self, description: str, total: int) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._description = description
        self._total = total
        self._printed_percent = -_PERCENT_PER_LINE
        self._task = self._bar.add_task(description, total=total) if self._bar else TaskID(0)

    def show(self, done: int) -> None:
        """So many bytes are done."""
        percent = 100 * done // self._total if self._total else 100
        if self._bar:
            self._bar.update(self._task, completed=done)
        elif percent >= self._printed_percent + _PERCENT_PER_LINE:
            self._printed_percent = percent - percent % _PERCENT_PER_LINE
            note(f"{self._description}: {percent} % of {size(self._total)}")
