"""Creating exactly once (law 1): the request is sent until the object with our identity and mark stands."""

from collections.abc import Awaitable, Callable

from ovirt_provision.errors import DeadlineExceeded, EngineRefused, ProvisionError
from ovirt_provision.ledger.store import PRESENT, Object
from ovirt_provision.operations.provisioning import PASSING, WITHOUT_EFFECT, Provisioning

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0


async def create_once(
    run: Provisioning,
    row: Object,
    *,
    doing: str,
    find: Callable[[], Awaitable[str | None]],
    send: Callable[[], Awaitable[str]],
    may_repeat: Callable[[float], Awaitable[bool]] | None = None,
    check: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Creates the object of a ledger row, unless it stands already.

    `send` sends the create request once and returns the object's id in the engine; `find` returns the id of
    the object that stands under our identity with our mark, None if there is none, and raises when somebody
    else's is in its place. `may_repeat` is for what the engine does not fence: given the time of the last
    request in seconds since the epoch, it says whether one that was not answered may be repeated. `check`
    raises when it must not be sent any more: what was looked up for it may have changed since.

    Afterwards the row is present, and `unanswered` as long as a request may still be running in the engine:
    one whose answer was lost is over only if it is the one that made what stands.
    """
    # What the daemon before has sent is not known: it may have been more than one request.
    lost = 2 if row.unanswered else 0
    asked_at = float(row.details.get("asked_at", 0.0))
    refused_at: float | None = None
    pause = _FIRST_PAUSE
    while True:
        run.check()
        # Asked before it is looked: what comes in between is then seen.
        repeat = not lost or may_repeat is None or await may_repeat(asked_at)
        if (lost or run.reentered) and (found := await find()) is not None:
            run.ledger.update_object(row.id, state=PRESENT, engine_id=found, unanswered=lost > 1)
            return
        if not repeat:
            await run.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            continue
        if check is not None:
            await check()
        # A log-in that fails must not look like a create whose answer was lost.
        await run.insist(run.engine.session.log_in)
        asked_at = run.clock.time()
        run.ledger.add_details(row.id, {"asked_at": asked_at}, unanswered=True)
        run.note(f"asking the engine to {doing}")
        try:
            made = await run.in_time(send())
        except DeadlineExceeded:
            raise
        except ProvisionError as error:
            failure = error
        else:
            run.ledger.update_object(row.id, state=PRESENT, engine_id=made, unanswered=lost > 0)
            return
        if isinstance(failure, PASSING) and not isinstance(failure, WITHOUT_EFFECT):
            lost += 1
            run.note(f"looking whether the engine did {doing}: {failure}")
        else:
            # Refused: this request had no effect, though one that was sent before may have.
            run.ledger.update_object(row.id, unanswered=lost > 0)
            found = await find()
            if found is not None:
                run.ledger.update_object(row.id, state=PRESENT, engine_id=found, unanswered=lost > 1)
                return
            if isinstance(failure, EngineRefused):
                refused_at = refused_at or run.clock.monotonic()
                if run.clock.monotonic() - refused_at >= run.timeouts.engine_lock:
                    raise failure
                run.note(f"the engine refuses for now: {failure.engine_text}")
            elif isinstance(failure, WITHOUT_EFFECT):
                run.note(f"repeating: {failure}")
            else:
                raise failure
        await run.pause(pause, failure)
        pause = min(2 * pause, _LONGEST_PAUSE)
