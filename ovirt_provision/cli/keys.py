"""What `machine type` types: text with keys in angle brackets, as in Packer's boot commands."""

import queue
import re
import time
from collections.abc import Iterator, Sequence

import typer

from ovirt_provision.cli.client import Daemon
from ovirt_provision.v1 import consoles_pb2

_TOKEN = re.compile(r"<(?P<name>[A-Za-z]+?\d*)(?P<action>On|Off)?>|(?P<character>.)", re.DOTALL)
_WAIT = re.compile(r"wait(\d*)")
_BRACKET = "lt"
# Keys in one message, of which the daemon says that they were typed.
_BATCH = 100
_ACTIONS = {
    None: consoles_pb2.KeyEvent.ACTION_UNSPECIFIED,
    "On": consoles_pb2.KeyEvent.ACTION_DOWN,
    "Off": consoles_pb2.KeyEvent.ACTION_UP,
}
_CONTROLS = {"\n": "enter", "\t": "tab"}

Step = consoles_pb2.KeyBatch | float
"""Keys to type, or seconds to wait."""


def steps(text: str) -> list[Step]:
    """`root<enter><wait5>` as keys and waits. `<lt>` is the character `<`; which other names there are says
    the daemon. Raises typer.BadParameter."""
    found: list[Step] = []
    for token in _TOKEN.finditer(text):
        name, action, character = token["name"], token["action"], token["character"]
        if name and (wait := _WAIT.fullmatch(name)):
            found.append(float(wait[1] or 1))
            continue
        if character == "<":
            raise typer.BadParameter(
                f"'{text[token.start() : token.start() + 20]}' begins no key such as <enter>; for the "
                "character write <lt>",
                param_hint="TEXT",
            )
        if name == _BRACKET:
            name, character = None, "<"
        special = name or _CONTROLS.get(character, "")
        event = consoles_pb2.KeyEvent(action=_ACTIONS[action])
        if special:
            event.special = special
        else:
            event.character = character
        last = found[-1] if found else None
        if isinstance(last, consoles_pb2.KeyBatch) and len(last.events) < _BATCH:
            last.events.append(event)
        else:
            found.append(consoles_pb2.KeyBatch(events=[event]))
    return found


def type_keys(daemon: Daemon, opening: consoles_pb2.OpenConsole, given: Sequence[Step]) -> str:
    """Opens a console and types; returns how the daemon got there. Raises ProvisionError."""
    sent: queue.SimpleQueue[consoles_pb2.SendKeysRequest | None] = queue.SimpleQueue()

    def requests() -> Iterator[consoles_pb2.SendKeysRequest]:
        while (request := sent.get()) is not None:
            yield request

    try:
        with daemon.stream(daemon.consoles.SendKeys, requests()) as replies:
            sent.put(consoles_pb2.SendKeysRequest(open=opening))
            description: str = next(replies).opened.description
            for step in given:
                if isinstance(step, float):
                    time.sleep(step)
                else:
                    sent.put(consoles_pb2.SendKeysRequest(keys=step))
                    next(replies)
            sent.put(None)
            for _ in replies:
                pass
            return description
    finally:
        sent.put(None)
