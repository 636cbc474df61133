"""Accepts calls of verbs, exactly once each, and hands them to the runner."""

import collections
import hashlib
import hmac
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from ovirt_provision import logs, metrics
from ovirt_provision.clock import Clock
from ovirt_provision.config import Owner, Timeouts
from ovirt_provision.engine import Engine
from ovirt_provision.errors import (
    DeadlineExceeded,
    EngineOperationFailed,
    EnginePermissionDenied,
    MachineFailed,
    ProvisionError,
    RequestIdReused,
)
from ovirt_provision.guest.ssh import Greeting
from ovirt_provision.images.store import ImageStore
from ovirt_provision.images.transfer import Mover
from ovirt_provision.ledger.queue import Queue
from ovirt_provision.ledger.runner import Phase, Runner
from ovirt_provision.ledger.secrets import SecretStore, merge_secrets, split_secrets, texts_of
from ovirt_provision.ledger.store import (
    CLEANUP_DONE,
    LATE,
    REMOVING,
    Ledger,
    Object,
    Operation,
)
from ovirt_provision.operations.backups import CREATE_BACKUP, RESTORE_BACKUP
from ovirt_provision.operations.clean_up import CLEAN_UP
from ovirt_provision.operations.clone_machine import CLONE_MACHINE
from ovirt_provision.operations.create_machine import CREATE_MACHINE
from ovirt_provision.operations.create_template import CREATE_TEMPLATE
from ovirt_provision.operations.destroy_disk import DESTROY_DISK
from ovirt_provision.operations.destroy_machine import DESTROY_MACHINE
from ovirt_provision.operations.destroy_template import DESTROY_TEMPLATE
from ovirt_provision.operations.detach_disk import DETACH_DISK
from ovirt_provision.operations.export_image import EXPORT_IMAGE
from ovirt_provision.operations.export_template import EXPORT_TEMPLATE
from ovirt_provision.operations.import_image import IMPORT_IMAGE
from ovirt_provision.operations.mark_backup_domain import MARK_BACKUP_DOMAIN
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.removal import forget_intents
from ovirt_provision.operations.restart_machine import RESTART_MACHINE
from ovirt_provision.operations.sparsify_disk import SPARSIFY_DISK
from ovirt_provision.operations.start_machine import START_MACHINE
from ovirt_provision.operations.stop_machine import STOP_MACHINE
from ovirt_provision.operations.timeouts import timeouts_of
from ovirt_provision.operations.verb import Call, Line, Verb

VERBS = {
    verb.name: verb
    for verb in (
        CREATE_MACHINE,
        CLONE_MACHINE,
        START_MACHINE,
        STOP_MACHINE,
        RESTART_MACHINE,
        DESTROY_MACHINE,
        CREATE_TEMPLATE,
        DESTROY_TEMPLATE,
        EXPORT_TEMPLATE,
        DETACH_DISK,
        DESTROY_DISK,
        SPARSIFY_DISK,
        IMPORT_IMAGE,
        EXPORT_IMAGE,
        MARK_BACKUP_DOMAIN,
        CREATE_BACKUP,
        RESTORE_BACKUP,
        CLEAN_UP,
    )
}

# Removals at work on an engine at once. One that lasts longer than PATIENCE, in seconds, makes room: what an
# engine holds up for ever keeps nobody waiting.
REMOVALS = 100
PATIENCE = 30.0
# Seconds between two looks into the engine's log for a reason that has to be there.
_LOOK_AGAIN = 0.5


class Dispatcher:
    """The verbs of the bridge, for services, leases and the janitor."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        engines: Callable[[str], Engine],
        secrets: SecretStore,
        timeouts: Timeouts,
        installation: str,
        limits: Callable[[str], Owner],
        greeting: Greeting,
        images: ImageStore,
        mover: Mover,
        cap_of: Callable[[str], int] = lambda _: 0,
    ) -> None:
        """`engines` finds the engine of a profile and raises EngineProfileNotFound; `limits` says what an
        owner may do; `greeting` looks for an SSH server; `cap_of` is how many operations that make or start
        something may be at work on an engine at once, 0 for any number.
        """
        self._ledger = ledger
        self._clock = clock
        self._engines = engines
        self._secrets = secrets
        self._timeouts = timeouts
        self._installation = installation
        self._limits = limits
        self._greeting = greeting
        self._images = images
        self._mover = mover
        self._cap_of = cap_of
        self._queues: dict[tuple[str, Line], Queue] = {}
        # Operation -> its secrets, once the engine is told them.
        self._told: dict[str, Sequence[str]] = {}
        self.runner: Runner[Provisioning] = Runner(
            ledger,
            clock,
            make_run=self._make_run,
            phases_of=self._phases_of,
            seconds_of=lambda run, name: float(getattr(run.timeouts, name)),
            explain=_explain,
            is_clean=self._is_clean,
            ended=self._ended,
            queue_of=self._queue_of,
            not_begun=self._not_begun,
        )

    def recover(self) -> None:
        """Takes up every operation that the last daemon left."""
        for operation_id in self._secrets.operations():
            operation = self._ledger.operation(operation_id)
            if operation is None or operation.ended:
                self._secrets.remove(operation_id)
        for operation_id in self._images.scratched():
            operation = self._ledger.operation(operation_id)
            if operation is None or operation.ended:
                self._images.drop_scratch(operation_id)
        # The last daemon may have died between accepting a destroy and cancelling what it takes over from.
        for destroying in self._ledger.unended_operations():
            self._cancel_others(destroying)
        self.runner.recover()

    async def call(self, verb: Verb, owner: str, engine: str, request: Any) -> Operation:
        """Accepts a call and returns its operation; a repeated request_id returns the first call's.

        Raises RequestIdReused, and what the verb raises for a request that cannot be accepted; then nothing
        has changed.
        """
        fingerprint = self._fingerprint(verb, engine, request)
        known = self._known(owner, request.request_id, fingerprint)
        if known is not None:
            return known
        self._ledger.insist_on_writable()
        call = self.make_call(owner, engine, request)
        try:
            plan = await verb.resolve(call)
        except ProvisionError:
            known = self._known(owner, request.request_id, fingerprint)
            if known is None:
                raise
            return known
        # Another call with the same request_id may have been accepted during the look-ups.
        return self._known(owner, request.request_id, fingerprint) or self._accept(
            verb, call, plan, fingerprint
        )

    async def validate(self, verb: Verb, owner: str, engine: str, request: Any) -> dict[str, Any]:
        """Looks up all that a request refers to, and returns that; changes nothing. Raises what `call` would
        raise for that."""
        return await verb.resolve(self.make_call(owner, engine, request))

    def make_call(self, owner: str, engine: str, request: Any) -> Call:
        """A call of an owner, with what its look-ups need. Raises EngineProfileNotFound."""
        return Call(
            request,
            owner,
            self._engines(engine),
            self._installation,
            self._ledger,
            self._timeouts,
            self._limits(owner),
            self._images,
        )

    def queue_lengths(self) -> dict[str, int]:
        """How many operations wait for their turn, by engine; without engines where none ever did."""
        lengths: collections.Counter[str] = collections.Counter()
        for (engine, _), queue in self._queues.items():
            lengths[engine] += len(queue)
        return lengths

    def cancel(self, operation: Operation, by: str) -> Operation:
        """Asks an operation to stop and undo its effects; nothing changes for one that has ended or rolls
        forward."""
        if not VERBS[operation.verb].cancellable:
            return operation
        return self.runner.cancel(operation.id, by)

    def clean_up(self, row: Object) -> Operation:
        """Starts to remove an object of ours that an operation had to leave behind."""
        operation_id = str(uuid.uuid4())
        with self._ledger.transaction() as connection:
            self._ledger.add_operation(
                connection,
                id=operation_id,
                verb=CLEAN_UP.name,
                engine=row.engine,
                owner=row.owner,
                request_id=str(uuid.uuid4()),
                request_hash="",
                request={},
                plan={},
                key=row.key,
                object_id=row.id,
            )
        operation = self._ledger.operation_or_fail(operation_id)
        self.runner.start(operation)
        return operation

    def _known(self, owner: str, request_id: str, fingerprint: str) -> Operation | None:
        known = self._ledger.operation_of_request(owner, request_id)
        if known is not None and known.request_hash != fingerprint:
            raise RequestIdReused(request_id=request_id, verb=known.verb)
        return known

    def _accept(self, verb: Verb, call: Call, plan: dict[str, Any], fingerprint: str) -> Operation:
        public, hidden = split_secrets(call.request)
        operation_id = str(uuid.uuid4())
        has_secrets = hidden.ByteSize() > 0
        with self._ledger.transaction() as connection:
            intent = verb.intend(call, plan, connection)
            if intent.operation is not None:
                return intent.operation
            self._ledger.add_operation(
                connection,
                id=operation_id,
                verb=verb.name,
                engine=call.engine.name,
                owner=call.owner,
                request_id=call.request.request_id,
                request_hash=fingerprint,
                request=MessageToDict(public, preserving_proto_field_name=True),
                plan={**intent.plan, "has_secrets": has_secrets},
                key=getattr(call.request, "key", "") or getattr(call.request, "machine_key", ""),
                object_id=intent.object_id,
            )
            if has_secrets:
                # Before the commit: an accepted operation that lacks its secrets could only fail.
                self._secrets.seal(operation_id, hidden.SerializeToString())
        operation = self._ledger.operation_or_fail(operation_id)
        self._cancel_others(operation)
        self.runner.start(operation)
        return operation

    def _cancel_others(self, operation: Operation) -> None:
        for other in operation.plan.get("others", ()):
            self.cancel(self._ledger.operation_or_fail(other), f"by {operation.verb}")

    def _fingerprint(self, verb: Verb, engine: str, request: Message) -> str:
        # Keyed, because the request may hold a secret that is short enough to be guessed from a plain hash.
        body = (
            verb.name.encode()
            + b"\0"
            + engine.encode()
            + b"\0"
            + request.SerializeToString(deterministic=True)
        )
        return hmac.new(self._installation.encode(), body, hashlib.sha256).hexdigest()

    def _make_run(self, operation: Operation) -> Provisioning:
        public = ParseDict(
            operation.request, VERBS[operation.verb].request_type(), ignore_unknown_fields=True
        )
        operation_id, engine = operation.id, operation.engine
        has_secrets = bool(operation.plan.get("has_secrets"))
        return Provisioning(
            operation,
            self._ledger,
            self._clock,
            find_engine=lambda: self._engines(engine),
            request=public,
            secret_request=lambda: self._with_secrets(operation_id, public) if has_secrets else public,
            timeouts=timeouts_of(public, self._timeouts),
            installation=self._installation,
            wait_for_operation=self.runner.ended,
            greeting=self._greeting,
            images=self._images,
            mover=self._mover,
        )

    def _with_secrets(self, operation_id: str, public: Message) -> Message:
        hidden = type(public).FromString(self._secrets.open(operation_id))
        if operation_id not in self._told:
            # From here on they are sent to the engine, which may repeat them in a fault.
            self._told[operation_id] = tuple(texts_of(hidden))
            for text in self._told[operation_id]:
                logs.register_secret(text)
        return merge_secrets(public, hidden)

    def _phases_of(self, operation: Operation) -> Sequence[Phase[Provisioning]]:
        verb = VERBS[operation.verb]
        return verb.phases(ParseDict(operation.request, verb.request_type(), ignore_unknown_fields=True))

    def _queue_of(self, operation: Operation) -> Queue | None:
        """What removes something never waits for what makes something, and not for long for its like."""
        line = VERBS[operation.verb].line
        if line is None:
            return None
        place = (operation.engine, line)
        if place not in self._queues:
            self._queues[place] = (
                Queue(self._cap_of(operation.engine), self._clock)
                if line == Line.WORK
                else Queue(REMOVALS, self._clock, patience=PATIENCE)
            )
        return self._queues[place]

    def _not_begun(self, operation: Operation) -> None:
        intended = self._ledger.objects_of_request(operation.owner, operation.request_id)
        forget_intents(self._ledger, intended)

    def _is_clean(self, operation: Operation) -> bool:
        return not any(row.state in (REMOVING, LATE) for row in self._objects_of(operation))

    def _objects_of(self, operation: Operation) -> Sequence[Object]:
        """What an operation is about, and what it has made on the way."""
        made = self._ledger.objects_of_request(operation.owner, operation.request_id)
        if operation.object_id is None:
            return made
        return [self._ledger.object(operation.object_id), *made]

    def _ended(self, operation: Operation) -> None:
        _measure(operation)
        self._secrets.remove(operation.id)
        for text in self._told.pop(operation.id, ()):
            logs.forget_secret(text)
        self._images.drop_scratch(operation.id)
        for other in self._ledger.awaiting_cleanup():
            if self._is_clean(other):
                self._ledger.update_operation(other.id, cleanup=CLEANUP_DONE)


def _measure(operation: Operation) -> None:
    # By the wall clock, which alone outlives the daemon; it may have been set back.
    phases = [(phase["name"], phase["end"] - phase["start"]) for phase in operation.phases if phase["end"]]
    seconds = (operation.ended_at or operation.created_at) - operation.created_at
    metrics.OPERATIONS.labels(operation.verb, operation.phase, operation.state).inc()
    metrics.OPERATION_SECONDS.labels(operation.verb, operation.state).observe(max(0, seconds))
    if VERBS[operation.verb].line and operation.phases:
        waited = operation.phases[0]["start"] - operation.created_at
        metrics.QUEUE_SECONDS.labels(operation.engine).observe(max(0, waited))
    for name, took in phases:
        metrics.PHASE_SECONDS.labels(operation.verb, name).observe(max(0, took))


async def _explain(run: Provisioning, error: ProvisionError) -> ProvisionError:
    """Puts the engine's own reason into an error that lacks it: never a time-out where the engine logged
    why. A missing permission is told by the permit that is missing."""
    if isinstance(error, EnginePermissionDenied):
        return await _explain_permission(run, error)
    if not isinstance(error, DeadlineExceeded | EngineOperationFailed | MachineFailed):
        return error
    run.enter(error.phase, "explain", run.timeouts.explain, cancellable=False)
    try:
        # What fails is logged, though perhaps a moment later; what only takes too long need not be.
        text = await _reason(run, insist=not isinstance(error, DeadlineExceeded))
    except ProvisionError:
        return error
    if isinstance(error, DeadlineExceeded) and text:
        phase = error.phase
        error = EngineOperationFailed(
            doing=f"the phase {phase}", engine_says=text, correlation_id=run.correlation_id
        )
        error.phase = phase
    error.engine_text = text
    return error


async def _explain_permission(run: Provisioning, error: EnginePermissionDenied) -> ProvisionError:
    if error.lacks or not error.needs:
        return error
    run.enter(error.phase, "explain", run.timeouts.explain, cancellable=False)
    try:
        return await run.in_time(run.engine.account.explain(error))
    except ProvisionError:
        return error


async def _reason(run: Provisioning, *, insist: bool) -> str:
    """What the engine's log says went wrong with an operation; empty when it says nothing."""
    while True:
        text = await run.insist(lambda: run.engine.events.failure_of(run.correlation_id))
        if text or not insist:
            return text
        await run.sleep(_LOOK_AGAIN)
