"""What the phases of every verb work with: the engine, the request, the ledger row of their object."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from ovirt_provision.clock import Clock
from ovirt_provision.config import Timeouts
from ovirt_provision.engine import Engine
from ovirt_provision.engine.model import Template, Vm
from ovirt_provision.errors import (
    DeadlineExceeded,
    EngineBroken,
    EngineNotConnected,
    EngineOperationFailed,
    EngineRefused,
    EngineSessionExpired,
    EngineUnreachable,
    NotOurs,
    ProvisionError,
)
from ovirt_provision.guest.ssh import Greeting
from ovirt_provision.images.store import ImageStore
from ovirt_provision.images.transfer import Mover
from ovirt_provision.ledger.identity import Mark
from ovirt_provision.ledger.runner import Run
from ovirt_provision.ledger.store import GONE, LATE, REMOVING, Ledger, Object, Operation

T = TypeVar("T")

# What passes: the request is repeated until the phase's deadline. It may have had its effect…
PASSING = (EngineUnreachable, EngineBroken, EngineSessionExpired)
# …except after these: no connection was made, or the engine looked at the token, which it does first, and
# said 401. A create goes out once over a connection of its own: no earlier attempt hides behind them.
WITHOUT_EFFECT = (EngineNotConnected, EngineSessionExpired)

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0


def is_ours(ledger: Ledger, installation: str, engine: str, vm: Vm) -> bool:
    """True if a VM's mark proves that it is ours: it recomputes to the VM's own id or, where the engine gave
    the VM another id than we had chosen, the ledger binds exactly this mark to that id."""
    mark = Mark.parse(vm.comment)
    if mark is None or mark.is_of_vm(vm.id, installation):
        return mark is not None
    row = ledger.object_in_engine(engine, "vm", vm.id)
    return row is not None and not row.adopted and mark == mark_of(installation, "vm", row)


def insist_on_ours(
    ledger: Ledger, installation: str, engine: str, vm: Vm, *, correlation_id: str = ""
) -> None:
    """Raises NotOurs unless the VM's mark proves that it is ours."""
    if not is_ours(ledger, installation, engine, vm):
        mark = Mark.parse(vm.comment)
        raise NotOurs(
            kind="VM",
            name=vm.name,
            id=vm.id,
            detail="it carries the mark of another" if mark else "it carries no mark of ours",
            correlation_id=correlation_id,
        )


def is_going(ledger: Ledger, installation: str, engine: str, vm: Vm) -> bool:
    """True if a VM is ours and its Machine was destroyed: it is being removed, or a late create has brought
    it back and the janitor will remove it."""
    row = ledger.object_in_engine(engine, "vm", vm.id)
    return (
        row is not None and row.state in (REMOVING, LATE, GONE) and is_ours(ledger, installation, engine, vm)
    )


def our_template(ledger: Ledger, installation: str, engine: str, template: Template) -> Object | None:
    """The ledger row of a template that is ours: by its id, or by a mark whose request wrote an intent that
    no other template fulfils (law 2). None for everybody else's, also where the mark was copied or inherited.
    """
    row = ledger.object_in_engine(engine, "template", template.id)
    if row is not None:
        return row
    mark = Mark.parse(template.comment)
    if mark is None or mark.kind != "template" or mark.installation != installation:
        return None
    row = ledger.object_of_request(engine, "template", mark.owner, mark.request)
    return row if row is not None and row.engine_id is None else None


def mark_of(installation: str, kind: str, row: Object) -> Mark:
    """The mark of an object of ours."""
    return Mark(kind, installation, row.owner, row.key, row.generation, row.request_id)


class Provisioning(Run):
    """A run with the engine at hand."""

    def __init__(
        self,
        operation: Operation,
        ledger: Ledger,
        clock: Clock,
        *,
        find_engine: Callable[[], Engine],
        request: Message,
        secret_request: Callable[[], Message],
        timeouts: Timeouts,
        installation: str,
        wait_for_operation: Callable[[str], Awaitable[Any]],
        greeting: Greeting,
        images: ImageStore,
        mover: Mover,
    ) -> None:
        """`request` holds no secret; `secret_request` reads the whole request and raises SecretsLost.
        `greeting` is how an SSH server is looked for, see guest/ssh.py; `mover` moves the bytes of images,
        see images/transfer.py."""
        super().__init__(operation, ledger, clock)
        self._find_engine = find_engine
        self.request: Any = request
        self.secret_request: Callable[[], Any] = secret_request
        self.timeouts = timeouts
        self.installation = installation
        self.wait_for_operation = wait_for_operation
        self.greeting = greeting
        self.images = images
        self.mover = mover

    @property
    def engine(self) -> Engine:
        """The operation's engine; raises EngineProfileNotFound if the configuration no longer has it."""
        return self._find_engine()

    @property
    def plan(self) -> dict[str, Any]:
        """What the references of the request were resolved to before the first effect."""
        return self.operation.plan

    @property
    def object(self) -> Object:
        """The ledger row of the VM or template that the operation is about, as it is now."""
        if self.operation.object_id is None:
            raise LookupError(f"operation {self.operation.id} has no object")
        return self.ledger.object(self.operation.object_id)

    @property
    def machine_id(self) -> str:
        """Id in the engine of the VM that the operation is about; fixed before the first request."""
        return self.object.known_id

    def mark(self, kind: str, row: Object) -> Mark:
        """The mark of an object of ours."""
        return mark_of(self.installation, kind, row)

    def failure(self, doing: str, engine_says: str) -> EngineOperationFailed:
        """What to raise when the engine has not done something (a noun), of which it says why or the state of
        things does."""
        return EngineOperationFailed(doing=doing, engine_says=engine_says, correlation_id=self.correlation_id)

    def insist_on_ours(self, vm: Vm) -> None:
        """Raises NotOurs unless the VM's mark proves that it is ours."""
        engine, cid = self.operation.engine, self.correlation_id
        insist_on_ours(self.ledger, self.installation, engine, vm, correlation_id=cid)

    def insist_on_power(self, vm: Vm) -> None:
        """Raises NotOurs unless the VM may be started and stopped: one of ours, or the operation's own
        adopted one."""
        row = self.object
        if not (row.adopted and vm.id == row.engine_id):
            self.insist_on_ours(vm)

    async def insist(
        self, request: Callable[[], Awaitable[T]], *, patience: float | None = None, on_vm: str = ""
    ) -> T:
        """Sends a request that is safe to repeat until the engine takes it.

        `on_vm` is the id of the VM that it starts or stops: before it is repeated it is looked whether that
        is still ours to do. Raises NotOurs if it is not.

        What was not answered is repeated until the phase's deadline. What was refused is repeated because
        locks of other operations pass, and no text tells them from other refusals (behaviour.md 14): for
        `patience` seconds, by default the time-out `engine_lock`. At the deadline it raises the last of these
        errors: that time has run out explains nothing.
        """
        pause = _FIRST_PAUSE
        give_up = self.clock.monotonic() + (self.timeouts.engine_lock if patience is None else patience)
        self.check()
        repeated = False
        while True:
            failure: ProvisionError
            try:
                if repeated and on_vm:
                    vm = await self.in_time(self.engine.machines.get(on_vm))
                    if vm is not None:
                        self.insist_on_power(vm)
                repeated = True
                return await self.in_time(request())
            except PASSING as error:
                failure = error
                self.note(f"repeating: {error}")
            except EngineRefused as error:
                if self.clock.monotonic() >= give_up:
                    raise
                failure = error
                self.note(f"the engine refuses for now: {error.engine_text}")
            await self.pause(pause, failure)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def pause(self, seconds: float, failure: ProvisionError) -> None:
        """Waits before a request that has failed is sent again. At the deadline it raises that failure."""
        try:
            await self.sleep(seconds)
            self.check()
        except DeadlineExceeded:
            raise failure from None
