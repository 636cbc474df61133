"""The exit codes of `ovirt-provision`."""

from enum import IntEnum

from ovirt_provision.errors import Code


class ExitCode(IntEnum):
    """What the process ends with; docs/cli.md lists the same."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CENSUS = 3
    NOT_FOUND = 4
    ALREADY_EXISTS = 5
    PRECONDITION = 6
    PERMISSION = 7
    TIMED_OUT = 8
    UNAVAILABLE = 9
    CANCELLED = 10
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed; the message says why",
    ExitCode.USAGE: "wrong arguments; nothing was changed",
    ExitCode.CENSUS: "the census found something leaked or missing",
    ExitCode.NOT_FOUND: "something that was named does not exist",
    ExitCode.ALREADY_EXISTS: "a name or a request id is taken",
    ExitCode.PRECONDITION: "not possible in this state, or the engine refused (log-in, certificate, rules)",
    ExitCode.PERMISSION: "the account, or the caller at the daemon, may not do this",
    ExitCode.TIMED_OUT: "a phase passed its deadline",
    ExitCode.UNAVAILABLE: "the daemon or the engine cannot be reached",
    ExitCode.CANCELLED: "somebody else cancelled the operation",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C (143: by SIGTERM); the operation was cancelled and undone",
}

_BY_CODE = {
    Code.INVALID_ARGUMENT: ExitCode.USAGE,
    Code.NOT_FOUND: ExitCode.NOT_FOUND,
    Code.ALREADY_EXISTS: ExitCode.ALREADY_EXISTS,
    Code.FAILED_PRECONDITION: ExitCode.PRECONDITION,
    Code.PERMISSION_DENIED: ExitCode.PERMISSION,
    Code.UNAUTHENTICATED: ExitCode.PERMISSION,
    Code.RESOURCE_EXHAUSTED: ExitCode.PRECONDITION,
    Code.DEADLINE_EXCEEDED: ExitCode.TIMED_OUT,
    Code.UNAVAILABLE: ExitCode.UNAVAILABLE,
    Code.CANCELLED: ExitCode.CANCELLED,
}


def exit_code(code: int) -> ExitCode:
    """The exit code for a gRPC status code."""
    return next((exit_code for known, exit_code in _BY_CODE.items() if known == code), ExitCode.FAILED)
