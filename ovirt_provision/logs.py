"""The daemon's log: one line per event, for people on a terminal and in logfmt elsewhere, without secrets."""

import bisect
import collections
import logging
import os
import re
import sys
import threading
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

import structlog
from google.protobuf.message import Message

from ovirt_provision import paths

REDACTED = "[redacted]"
# A shorter value would also be found inside words that are no secret.
MIN_SECRET_LENGTH = 4
# In bytes; a log and the one before it are kept.
LARGEST_LOG = 10 * 1024 * 1024

_SECRET_KEY = re.compile(
    r"passw|passphrase|secret|token|authorization|credential|cookie|private_?key|custom_?script|user_?data|ticket",
    re.IGNORECASE,
)
_lock = threading.Lock()
# What is looked for, with how often it was registered; and the same, the longest first: the rest of a longer
# secret that begins with a shorter one would stay otherwise.
_forms: collections.Counter[str] = collections.Counter()
_longest_first: list[str] = []


def register_secret(value: str) -> None:
    """From now on no log line shows this value, plain, URL-quoted or XML-quoted.

    Values shorter than MIN_SECRET_LENGTH are not looked for.
    """
    _count(value, 1)


def forget_secret(value: str) -> None:
    """Takes back one `register_secret` of this value."""
    _count(value, -1)


def redact(text: str) -> str:
    """The text without any registered secret."""
    for form in tuple(_longest_first):
        if form in text:
            text = text.replace(form, REDACTED)
    return text


def cut(file: Path) -> None:
    """Moves what a log file holds to `FILE.1`, in place of what that held, once it has LARGEST_LOG bytes.

    Whoever has the file open for appending goes on at its beginning. Raises OSError; an absent file is fine.
    """
    if not file.exists() or file.stat().st_size < LARGEST_LOG:
        return
    paths.write_private(file.with_name(f"{file.name}.1"), file.read_bytes())
    os.truncate(file, 0)


def configure(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Sends the log of structlog and of the standard library, and warnings, to `stream` (default: stderr).

    `level` is that of our own events; libraries are heard from WARNING on.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    first: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer()
        if terminal
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=first,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Tracebacks become text before the redaction, by the formatter that shows no local variables.
                structlog.processors.format_exc_info,
                _redact_event,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries tell people who run a daemon nothing below a warning.
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("ovirt_provision").setLevel(level)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[*first, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _count(value: str, step: int) -> None:
    if len(value) < MIN_SECRET_LENGTH:
        return
    with _lock:
        for form in {value, quote(value, safe=""), quote_plus(value), escape(value, quote=False)}:
            before = _forms[form]
            _forms[form] = max(0, before + step)
            if not before and _forms[form]:
                bisect.insort(_longest_first, form, key=_shortness)
            elif not _forms[form]:
                del _forms[form]
                if before:
                    place = bisect.bisect_left(_longest_first, _shortness(form), key=_shortness)
                    del _longest_first[_longest_first.index(form, place)]


def _shortness(form: str) -> int:
    return -len(form)


def _redact_event(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    return {key: _redact_value(key, value) for key, value in event.items()}


def _redact_value(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key):
        return REDACTED
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Message):
        # Its text would hold the fields that are marked debug_redact.
        return value.DESCRIPTOR.full_name
    if isinstance(value, Mapping):
        return {name: _redact_value(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value(key, item) for item in value]
    return redact(str(value))
