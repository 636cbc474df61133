"""Where the bridge keeps its files and where its daemon listens, by the XDG Base Directory Specification."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ovirt_provision.errors import Code, ProvisionError

FOLDER = "ovirt-provision"
ADDRESS_VARIABLE = "OVIRT_PROVISION_ADDRESS"
# sun_path of unix(7) holds 108 bytes, the last of them a NUL.
MAX_SOCKET_PATH_BYTES = 107
# Suffix of a file that is not written to its end.
NEW = ".new"


class PathUnsafe(ProvisionError):
    """A folder or file that others could read or replace, or that is not what it should be."""

    code = Code.FAILED_PRECONDITION
    reason = "PATH_UNSAFE"
    message = "{path} {problem}"
    advice = "{remedy}"


class AddressInvalid(ProvisionError):
    """A daemon address that cannot be used."""

    code = Code.INVALID_ARGUMENT
    reason = "ADDRESS_INVALID"
    message = "{source}: '{address}' {problem}"
    advice = "Give `unix:/absolute/path` (at most 107 bytes of path) or `host:port`."


@dataclass(frozen=True)
class Address:
    """Where a daemon listens.

    `target` is what gRPC dials; `socket` is the path of the unix socket, None for TCP; `source` says in
    messages where the address came from; `chosen` is false for the default one, where clients auto-start.
    """

    target: str
    socket: Path | None
    source: str
    chosen: bool

    def __str__(self) -> str:
        return self.target


def config_file(environ: Mapping[str, str] | None = None) -> Path:
    """The configuration, `${XDG_CONFIG_HOME:-~/.config}/ovirt-provision/config.yaml`; it need not exist."""
    return _xdg(environ, "XDG_CONFIG_HOME", ".config") / FOLDER / "config.yaml"


def state_folder(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of ledger, installation id and log, `${XDG_STATE_HOME:-~/.local/state}/ovirt-provision`."""
    return _xdg(environ, "XDG_STATE_HOME", ".local/state") / FOLDER


def runtime_folder(environ: Mapping[str, str] | None = None) -> Path | None:
    """`$XDG_RUNTIME_DIR/ovirt-provision`, which a reboot clears; None where there is no such variable."""
    given = _environ(environ).get("XDG_RUNTIME_DIR", "")
    return Path(given) / FOLDER if Path(given).is_absolute() else None


def daemon_address(environ: Mapping[str, str] | None = None) -> Address:
    """The address: `$OVIRT_PROVISION_ADDRESS`, else a unix socket in the runtime folder or the state folder.

    Raises AddressInvalid.
    """
    given = _environ(environ).get(ADDRESS_VARIABLE, "")
    if given:
        return parse_address(given, source=ADDRESS_VARIABLE)
    folder = runtime_folder(environ) or state_folder(environ) / "run"
    return unix_address(folder / "daemon.sock", source="the default address", chosen=False)


def parse_address(text: str, source: str) -> Address:
    """Reads `unix:/path` or `host:port`; `source` says where the text came from. Raises AddressInvalid."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if path.startswith("//"):
            path = path.removeprefix("//")
        return unix_address(Path(path), source)
    host, _, port = text.rpartition(":")
    if not host or "/" in host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise AddressInvalid(source=source, address=text, problem="is neither `unix:/path` nor `host:port`")
    return Address(target=text, socket=None, source=source, chosen=True)


def unix_address(path: Path, source: str, *, chosen: bool = True) -> Address:
    """The address of a unix socket. Raises AddressInvalid when the path is relative or over 107 bytes."""
    if not path.is_absolute():
        raise AddressInvalid(source=source, address=f"unix:{path}", problem="is not an absolute path")
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH_BYTES:
        raise AddressInvalid(
            source=source,
            address=f"unix:{path}",
            problem=f"has a path of {length} bytes; a unix socket allows {MAX_SOCKET_PATH_BYTES}. Set "
            f"{ADDRESS_VARIABLE} or XDG_RUNTIME_DIR to something shorter",
        )
    return Address(target=f"unix:{path}", socket=path, source=source, chosen=chosen)


def private_folder(path: Path) -> Path:
    """Makes the folder, 0700, if it is absent, and returns it.

    Raises PathUnsafe unless it is a folder that belongs to this user and that nobody else may enter.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError as error:
        raise PathUnsafe(path=error.filename, problem="is not a folder", remedy="Move it away.") from None
    except OSError as error:
        raise PathUnsafe(
            path=path,
            problem=f"cannot be made: {error.strerror}",
            remedy="Check the permissions of its parent folder.",
        ) from None
    check_private(path)
    return path


def check_private(path: Path) -> None:
    """Raises PathUnsafe unless `path` is a file or folder (no link) of this user that others cannot open."""
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    folder = stat.S_ISDIR(status.st_mode)
    if not folder and not stat.S_ISREG(status.st_mode):
        raise PathUnsafe(path=path, problem="is neither a file nor a folder", remedy="Move it away.")
    if status.st_uid != os.geteuid():
        raise PathUnsafe(
            path=path,
            problem=f"belongs to user id {status.st_uid}, not to {os.geteuid()}",
            remedy="Choose another place by XDG_RUNTIME_DIR, XDG_STATE_HOME or OVIRT_PROVISION_ADDRESS.",
        )
    if mode & 0o077:
        raise PathUnsafe(
            path=path,
            problem=f"has mode {mode:04o}, which lets other users in",
            remedy=f"Run: chmod {'700' if folder else '600'} {path}",
        )


def check_secret(file: Path) -> None:
    """As `check_private`, but takes what systemd hands over: others cannot open that, whatever its mode says.

    Raises PathUnsafe, and OSError when there is no such file.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not credentials or file.resolve().parent != Path(credentials).resolve():
        check_private(file)


def write_private(file: Path, content: bytes) -> None:
    """As `write_whole`, for its owner alone."""
    write_whole(file, content, mode=0o600)


def write_whole(file: Path, content: bytes, *, mode: int) -> None:
    """Writes the file such that after a crash it has either its old content or all of the new.

    `mode` are the permissions that it gets, whatever the umask. Raises OSError.
    """
    new = file.with_name(f".{file.name}{NEW}")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        os.fchmod(descriptor, mode)
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    new.rename(file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Makes what was created, renamed or removed in the folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _environ(environ: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if environ is None else environ


def _xdg(environ: Mapping[str, str] | None, variable: str, default: str) -> Path:
    # The specification: a relative path in an XDG variable is to be ignored.
    variables = _environ(environ)
    given = Path(variables.get(variable, ""))
    if given.is_absolute():
        return given
    home = variables.get("HOME", "")
    return (Path(home) if home else Path.home()) / default
