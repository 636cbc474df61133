"""The file of bearer tokens: a line per token, `OWNER sha256:HEX`, where HEX is the hash of the token.

A token is made of 32 random bytes or more, so that a plain hash of it cannot be reversed by guessing. An
owner may have several, so that one can be replaced while it is in use. Empty lines and comments (#) are
skipped.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from pathlib import Path

from ovirt_provision import paths
from ovirt_provision.errors import Code, ProvisionError

_LINE = re.compile(r"(\S+)\s+sha256:([0-9a-f]{64})")
_MAX_BYTES = 1024 * 1024


class TokenFileUnusable(ProvisionError):
    """The token file cannot be read, others can read it, or a line of it means nothing."""

    code = Code.FAILED_PRECONDITION
    reason = "TOKEN_FILE_UNUSABLE"
    message = "{file} {problem}"
    advice = "{remedy}"


def read(file: Path) -> Sequence[tuple[bytes, str]]:
    """(SHA-256 of a token, its owner) of each line.

    Raises TokenFileUnusable. No message quotes a line, because somebody may have put the token itself there.
    """
    try:
        paths.check_secret(file)
        with file.open("rb") as opened:
            text = opened.read(_MAX_BYTES).decode()
    except OSError as error:
        problem, remedy = f"cannot be read: {error.strerror}", "Correct `tls.token_file`."
        raise TokenFileUnusable(file=file, problem=problem, remedy=remedy) from None
    except UnicodeDecodeError:
        raise TokenFileUnusable(file=file, problem="is not UTF-8 text", remedy="Write it anew.") from None
    except paths.PathUnsafe as error:
        raise TokenFileUnusable(
            file=file, problem=str(error.fields["problem"]), remedy=error.what_to_do
        ) from None
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1].startswith("uid:"):
            raise TokenFileUnusable(
                file=file,
                problem=f"line {number}: is not `OWNER sha256:` and 64 hexadecimal digits"
                if match is None
                else f"line {number}: names of owners that begin with uid: are those of the unix socket",
                remedy='The hash of a token: printf %s "$token" | sha256sum',
            )
        found.append((bytes.fromhex(match[2]), match[1]))
    return found


class Tokens:
    """The tokens of a file, read anew when the file changes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: object = None
        self._known: Sequence[tuple[bytes, str]] = ()

    def owner_of(self, token: str) -> str | None:
        """Whose token it is, None if nobody's.

        Raises TokenFileUnusable: what the file said before lets nobody in, or a token that was to be
        withdrawn would live on behind a slip in another line.
        """
        try:
            status = self._file.stat()
        except OSError:
            status = None
        seen = status and (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
        if seen is None or seen != self._seen:
            self._seen = None
            self._known = read(self._file)
            self._seen = seen
        given = hashlib.sha256(token.encode()).digest()
        owner = None
        # All are compared, in constant time, so that the time tells nothing of them.
        for known, name in self._known:
            if hmac.compare_digest(known, given):
                owner = name
        return owner
