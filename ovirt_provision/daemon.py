"""The daemon's life: one per state folder, from its lock and configuration to an orderly end."""

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import gc
import os
import signal
import socket as sockets
import stat
import sys
import types
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TextIO

import structlog

from ovirt_provision import config, logs, paths
from ovirt_provision.clock import Clock, SystemClock
from ovirt_provision.config import Config, ConfigError, Timeouts
from ovirt_provision.errors import Code, ProvisionError, Violation, did_you_mean
from ovirt_provision.services.server import PortUnusable, Registration, Server

# Seconds that an auto-started daemon waits for another one to give up the state folder.
HANDOVER = 15.0
# Seconds between two looks of a daemon that might end for lack of work, or that waits for the state folder.
IDLE_LOOK = 30.0
LOCK_LOOK = 0.1
# What clients have the output of a daemon that they start written to, in the state folder.
LOG = "daemon.log"
# Of mallopt(3).
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_log = structlog.get_logger(__name__)


class Runtime(Protocol):
    """All that the daemon runs: ledger, engines, verbs and their services."""

    async def start(self) -> None:
        """Opens the ledger and takes up what was under way. Must not wait for an engine."""

    def servicers(self) -> Sequence[Registration]:
        """The gRPC services; asked for once, before `start`."""

    def busy(self) -> bool:
        """Whether an operation, an undo, a session lease or a ttl is pending."""

    def last_activity(self) -> float:
        """When there was last something to do, in seconds of the clock's `monotonic`."""

    async def drain(self) -> None:
        """Ends the watch streams and brings running phases to a point from which they can be taken up."""

    async def close(self) -> None:
        """Releases everything; the last call, as `drain` also after a start that failed."""


RuntimeFactory = Callable[[Config, Path, Clock, uuid.UUID], Runtime]


class AlreadyRunning(ProvisionError):
    """Another daemon has the state folder."""

    code = Code.FAILED_PRECONDITION
    reason = "DAEMON_ALREADY_RUNNING"
    message = "a daemon is already running on {folder}: process {pid}, listening on {address}"
    advice = "Use that daemon, stop it first, or give this one a state folder of its own by XDG_STATE_HOME."


class AddressInUse(ProvisionError):
    """Somebody else listens where the daemon is to listen."""

    code = Code.FAILED_PRECONDITION
    reason = "ADDRESS_IN_USE"
    message = "{socket} {problem}"
    advice = "Stop what is there, or choose another address by OVIRT_PROVISION_ADDRESS."


class PlainTcp(ProvisionError):
    """The daemon was told to listen on TCP by what says nothing of certificates."""

    code = Code.INVALID_ARGUMENT
    reason = "PLAIN_TCP"
    message = "{source}: '{address}' is a network address, and the daemon does not listen on TCP without TLS"
    advice = (
        "Unset the variable for the daemon, and give the address as `tls.listen` in its configuration, with "
        "certificates; docs/security.md says how. Clients go on using the variable."
    )


class InstallationLost(ProvisionError):
    """The state folder has a ledger, but no installation id that could have made it."""

    code = Code.FAILED_PRECONDITION
    reason = "INSTALLATION_LOST"
    message = "{file} {problem}"
    advice = (
        "Restore it from the backup of the state folder. A new id would make every Machine of this ledger "
        "foreign; to begin anew all the same, move the whole state folder away."
    )


class StateUnwritable(ProvisionError):
    """The disk of the state folder is full, failing or mounted read-only."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "STATE_UNWRITABLE"
    message = "the state folder {folder} cannot be written: {problem}"
    advice = "Make room on its file system, or choose another place by XDG_STATE_HOME."


@dataclass(frozen=True)
class ServeOptions:
    """What `ovirt-provision serve` was told. `config_file` None means the usual place."""

    config_file: Path | None = None
    auto_started: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    stdin: TextIO | None = None


async def serve(
    options: ServeOptions, runtime_factory: RuntimeFactory | None = None, clock: Clock | None = None
) -> int:
    """Runs the daemon until SIGTERM, SIGINT or, when auto-started, idleness; returns the exit code.

    0 after an orderly end, and when a client started it beside the daemon that it wants; os.EX_TEMPFAIL (75)
    when another daemon has the state folder or the address; os.EX_CONFIG (78) when configuration, folders,
    ledger or key cannot be used; os.EX_SOFTWARE (70) for what was not foreseen. stderr then says why.
    """
    _share_heap()
    logs.configure()
    clock = clock or SystemClock()
    try:
        async with contextlib.AsyncExitStack() as stack:
            state = paths.private_folder(paths.state_folder(options.environ))
            configured = _configure(options)
            address = _address(options, configured)
            stack.enter_context(await _lock(state, address, options.auto_started, clock))
            installation = _installation(state)
            _clear_socket(address)
            runtime = (runtime_factory or _runtime)(configured, state, clock, installation)
            await _run(
                runtime,
                Server(runtime.servicers(), clock, configured),
                address,
                configured.timeouts,
                options,
                clock,
            )
            return 0
    except AlreadyRunning as error:
        # The client that started this one finds the other by itself.
        same = options.auto_started and error.fields["address"] == error.fields["wanted"]
        return _give_up(error, 0 if same else os.EX_TEMPFAIL)
    except (AddressInUse, PortUnusable) as error:
        return _give_up(error, os.EX_TEMPFAIL)
    except ProvisionError as error:
        return _give_up(error, os.EX_CONFIG)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            folder = paths.state_folder(options.environ)
            return _give_up(StateUnwritable(folder=folder, problem=error.strerror), os.EX_CONFIG)
        _log.error("unexpected error, stopping", exc_info=error)
        return os.EX_SOFTWARE
    except Exception as error:
        _log.error("unexpected error, stopping", exc_info=error)
        return os.EX_SOFTWARE


async def _run(
    runtime: Runtime,
    server: Server,
    address: paths.Address,
    timeouts: Timeouts,
    options: ServeOptions,
    clock: Clock,
) -> None:
    assert address.socket is not None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told(signal_name: str) -> None:
        _log.info("told to stop", signal=signal_name)
        stop.set()
        # Whoever sends a second one does not want to wait, and the ledger survives that too.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number.name)
    await server.start(address.socket)
    try:
        await runtime.start()
        _forget_docstrings()
        # What is loaded by now stays: the collector shall not look at it again, and looks at the rest sooner.
        gc.collect()
        gc.freeze()
        await server.open()
        _log.info("serving", address=str(address), pid=os.getpid())
        _notify(options.environ, "READY=1")
        if options.auto_started:
            log = paths.state_folder(options.environ) / LOG
            await _idle(runtime, server, timeouts.idle, clock, stop, log)
        await stop.wait()
    finally:
        _notify(options.environ, "STOPPING=1")
        await server.refuse()
        await runtime.drain()
        await server.stop(timeouts.drain)
        await runtime.close()
        address.socket.unlink(missing_ok=True)
        _log.info("stopped")


async def _idle(
    runtime: Runtime, server: Server, seconds: float, clock: Clock, stop: asyncio.Event, log: Path
) -> None:
    """Ends the daemon for lack of work; until then it keeps its log small, since nobody else does."""
    last_busy = clock.monotonic()
    while not stop.is_set():
        with contextlib.suppress(OSError):
            logs.cut(log)
        if runtime.busy():
            last_busy = clock.monotonic()
        last = max(last_busy, runtime.last_activity(), server.calls.last_activity())
        left = last + seconds - clock.monotonic()
        if left <= 0:
            _log.info("idle, stopping", seconds=seconds)
            stop.set()
            return
        pause = asyncio.create_task(clock.sleep(min(left, IDLE_LOOK)))
        told = asyncio.create_task(stop.wait())
        await asyncio.wait({pause, told}, return_when=asyncio.FIRST_COMPLETED)
        pause.cancel()
        told.cancel()


def _forget_docstrings() -> None:
    """Makes room of what only people read, and mostly in the SDK: 3 MB, as `python -OO` would."""
    for function in gc.get_objects():
        if isinstance(function, types.FunctionType) and function.__doc__:
            code = function.__code__
            if code.co_consts and code.co_consts[0] is function.__doc__:
                function.__code__ = code.replace(co_consts=(None, *code.co_consts[1:]))
            function.__doc__ = None


def _share_heap() -> None:
    """Has all threads take memory from one heap, and large blocks, such as the engine's answers, beside it.

    By default glibc gives each thread a heap of its own, whose free memory no other thread can have, and
    soon has large blocks leave holes there: with a thousand Machines a third of the heaps was free and lost.
    Where the C library is another one this changes nothing.
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, 128 << 10)


def _configure(options: ServeOptions) -> Config:
    variables = dict(options.environ)
    folder: Path | None = Path.cwd()
    if options.auto_started:
        variables |= _read_variables(options.stdin or sys.stdin)
        # The daemon runs in /, and knows nothing of the client's folder.
        folder = None
    file = options.config_file or paths.config_file(options.environ)
    if options.config_file is not None and not file.exists():
        raise ConfigError(str(file), [Violation("", "does not exist")])
    return config.load(file.absolute(), variables, folder=folder)


def _read_variables(stdin: TextIO) -> dict[str, str]:
    variables: dict[str, str] = {}
    violations = []
    for number, line in enumerate(stdin.read().splitlines(), start=1):
        name, separator, value = line.partition("=")
        if separator and name in config.ENVIRONMENT_VARIABLES:
            variables[name] = value
        elif line:
            # The line may be a secret, so only a name is shown.
            shown = name if separator and name.isidentifier() else "no NAME=value"
            known = ", ".join(config.ENVIRONMENT_VARIABLES)
            near = did_you_mean(name, config.ENVIRONMENT_VARIABLES) if separator else ""
            violations.append(Violation(f"line {number}", f"{shown}; allowed are {known}{near}"))
    if violations:
        raise ConfigError("what a client handed over on standard input", violations)
    return variables


def _address(options: ServeOptions, configured: Config) -> paths.Address:
    if configured.listen is not None and not options.environ.get(paths.ADDRESS_VARIABLE):
        address = paths.unix_address(configured.listen, source="`listen` in the configuration")
    else:
        address = paths.daemon_address(options.environ)
    if address.socket is None:
        raise PlainTcp(source=address.source, address=address.target)
    paths.private_folder(address.socket.parent)
    return address


async def _lock(
    state: Path, address: paths.Address, auto_started: bool, clock: Clock
) -> contextlib.AbstractContextManager[None]:
    file = state / "daemon.lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = clock.monotonic() + HANDOVER
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            pid, _, elsewhere = file.read_text().strip().partition(" ")
            # The daemon before this one may have closed its socket, which the client saw, but not its ledger.
            going_down = auto_started and not _listens(address.socket)
            if not going_down or clock.monotonic() >= deadline:
                os.close(descriptor)
                raise AlreadyRunning(
                    folder=state, pid=pid or "unknown", address=elsewhere or "unknown", wanted=str(address)
                ) from None
        await clock.sleep(LOCK_LOOK)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()} {address}\n".encode())

    @contextlib.contextmanager
    def held() -> Iterator[None]:
        try:
            yield
        finally:
            os.close(descriptor)

    return held()


def _listens(socket: Path | None) -> bool:
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(socket)) not in (errno.ENOENT, errno.ECONNREFUSED)


def _clear_socket(address: paths.Address) -> None:
    socket = address.socket
    assert socket is not None
    try:
        status = socket.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise AddressInUse(socket=socket, problem="is in the way: it is not a socket")
    if _listens(socket):
        raise AddressInUse(socket=socket, problem="is in use by a daemon with another state folder")
    socket.unlink()


def _installation(state: Path) -> uuid.UUID:
    file = state / "installation"
    try:
        return uuid.UUID(file.read_text().strip())
    except ValueError:
        raise InstallationLost(file=file, problem="is damaged: it must hold one UUID") from None
    except FileNotFoundError:
        if (state / "ledger.sqlite").exists():
            raise InstallationLost(file=file, problem="is gone, but its ledger is there") from None
    made = uuid.uuid4()
    paths.write_private(file, f"{made}\n".encode())
    return made


def _runtime(configured: Config, state: Path, clock: Clock, installation: uuid.UUID) -> Runtime:
    # Imported late: what can be wrong before is told in a fraction of the time that this takes.
    from ovirt_provision.runtime import Runtime

    return Runtime(configured, state, clock, installation)


def _give_up(error: ProvisionError, code: int) -> int:
    advice = f"\n{error.what_to_do}" if error.what_to_do else ""
    # A log on the disk that is full must not hide the exit code.
    with contextlib.suppress(OSError):
        print(logs.redact(f"ovirt-provision: {error}{advice}"), file=sys.stderr, flush=True)
    return code


def _notify(environ: Mapping[str, str], state: str) -> None:
    # sd_notify(3); an address that begins with @ is in the abstract namespace.
    address = environ.get("NOTIFY_SOCKET", "")
    if address:
        with contextlib.suppress(OSError), sockets.socket(sockets.AF_UNIX, sockets.SOCK_DGRAM) as systemd:
            systemd.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
