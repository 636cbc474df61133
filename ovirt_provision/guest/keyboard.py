"""Keys as X11 knows them (keysyms), which is how VNC tells them."""

from collections.abc import Sequence

SHIFT = 0xFFE1
# What takes the shift key on a US keyboard.
_SHIFTED = '~!@#$%^&*()_+{}|:"<>?'
SPECIAL = {
    "bs": 0xFF08,
    "del": 0xFFFF,
    "down": 0xFF54,
    "end": 0xFF57,
    "enter": 0xFF0D,
    "esc": 0xFF1B,
    **{f"f{number}": 0xFFBD + number for number in range(1, 13)},
    "home": 0xFF50,
    "insert": 0xFF63,
    "left": 0xFF51,
    "leftalt": 0xFFE9,
    "leftctrl": 0xFFE3,
    "leftshift": SHIFT,
    "leftsuper": 0xFFEB,
    "menu": 0xFF67,
    "pagedown": 0xFF56,
    "pageup": 0xFF55,
    "return": 0xFF0D,
    "right": 0xFF53,
    "rightalt": 0xFFEA,
    "rightctrl": 0xFFE4,
    "rightshift": 0xFFE2,
    "rightsuper": 0xFFEC,
    "spacebar": 0x20,
    "tab": 0xFF09,
    "up": 0xFF52,
}
"""Keys by the names that Packer's boot commands have for them, in lower case."""


def keys_of(character: str) -> Sequence[int]:
    """The keys that are held down together for a character, in this order.

    Shift is one of them where it takes it: without it some servers type the other character of the key.
    """
    point = ord(character)
    keysym = point if point < 0x100 else 0x0100_0000 + point
    shifted = character in _SHIFTED or "A" <= character <= "Z"
    return (SHIFT, keysym) if shifted else (keysym,)
