"""What `machine type` makes of its text."""

import pytest
import typer

from ovirt_provision.cli.keys import steps
from ovirt_provision.v1 import consoles_pb2

KeyEvent = consoles_pb2.KeyEvent


def shown(text: str) -> list[str]:
    """The steps of a text, each key as it is told to the daemon."""
    found = []
    for step in steps(text):
        if isinstance(step, float):
            found.append(f"{step:g} s")
            continue
        for event in step.events:
            action = {KeyEvent.ACTION_DOWN: "+", KeyEvent.ACTION_UP: "-"}.get(event.action, "")
            found.append(action + (event.special.upper() or event.character))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aB!", ["a", "B", "!"]),
        ("a<enter>b\tc\n", ["a", "ENTER", "b", "TAB", "c", "ENTER"]),
        ("<f10><F2>", ["F10", "F2"]),
        ("<leftCtrlOn>c<leftCtrlOff>", ["+LEFTCTRL", "c", "-LEFTCTRL"]),
        ("a<wait>b<wait15>", ["a", "1 s", "b", "15 s"]),
        ("<lt>enter> 1 > 0", [*"<enter> 1 > 0"]),
    ],
)
def test_a_text_is_keys_and_waits(text, expected):
    assert shown(text) == expected


def test_a_long_text_goes_in_batches():
    sizes = [len(step.events) for step in steps("x" * 250) if isinstance(step, consoles_pb2.KeyBatch)]
    assert sizes == [100, 100, 50]


def test_half_a_key_is_told_of():
    with pytest.raises(typer.BadParameter, match=r"'< 5' begins no key such as <enter>; .*write <lt>"):
        steps("3 < 5")
