"""Creating exactly once (law 1): the request is sent until the object with our identity and mark stands."""

from collections.abc import Awaitable, Callable

from ovirt_provision.errors import EngineRefused, ProvisionError
from ovirt_provision.ledger.store import PRESENT, Object
from ovirt_provision.operations.provisioning import UNANSWERED, Provisioning

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
) -> None:
    """Creates the object of a ledger row, unless it stands already.

    `send` sends the create request once and returns the object's id in the engine; `find` returns the id of
    the object that stands under our identity with our mark, None if there is none, and raises when somebody
    else's is in its place. `may_repeat` is for what the engine does not fence: given the time of the last
    request in seconds since the epoch, it says whether one that was not answered may be repeated.

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
        asked_at = run.clock.time()
        run.ledger.update_object(row.id, unanswered=True, details={**row.details, "asked_at": asked_at})
        run.note(f"asking the engine to {doing}")
        try:
            made = await send()
        except UNANSWERED as error:
            lost += 1
            run.note(f"looking whether the engine did {doing}: {error}")
        except ProvisionError as error:
            # Refused: this request had no effect, though one that was sent before may have.
            run.ledger.update_object(row.id, unanswered=lost > 0)
            found = await find()
            if found is not None:
                run.ledger.update_object(row.id, state=PRESENT, engine_id=found, unanswered=lost > 1)
                return
            refused_at = refused_at or run.clock.monotonic()
            patience = run.timeouts.engine_lock - (run.clock.monotonic() - refused_at)
            if not isinstance(error, EngineRefused) or patience <= 0:
                raise
            run.note(f"the engine refuses for now: {error.engine_text}")
        else:
            run.ledger.update_object(row.id, state=PRESENT, engine_id=made, unanswered=lost > 0)
            return
        await run.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
