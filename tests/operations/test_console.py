"""Typing into consoles: what a guest would have been typed, and what keeps it from that."""

import asyncio
import io
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ovirt_provision import logs
from ovirt_provision.errors import (
    ConsoleLost,
    ConsoleTicketRefused,
    ConsoleTlsRefused,
    ConsoleUnreachable,
    ConsoleUnsupported,
    MachineNotRunning,
    NotOurs,
    NoVncConsole,
    ProvisionError,
)
from ovirt_provision.guest.keyboard import SPECIAL
from ovirt_provision.operations.console import Typist, sit_down
from ovirt_provision.simulator.certificates import make_certificates
from ovirt_provision.simulator.entities import Vm
from ovirt_provision.simulator.guests.screen import RecordingScreen
from ovirt_provision.simulator.markup import node
from ovirt_provision.v1 import consoles_pb2
from tests.harness import ENGINE, OWNER, Site, spec, started

KeyEvent = consoles_pb2.KeyEvent
PRINTABLE = "".join(chr(point) for point in range(0x20, 0x7F))


class Console:
    """The Machine `web`, and how its VM's screen sees what is typed."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @property
    def vm(self) -> Vm:
        (vm,) = self.site.simulator.world.vms.values()
        return vm

    @property
    def screen(self) -> RecordingScreen:
        guests: Any = self.site.simulator.world.guests
        screen: RecordingScreen = guests.screens[self.vm.id]
        return screen

    async def open(self, interval: float | None = None) -> Typist:
        bridge = self.site.bridge
        row = bridge.ledger.living_machine(OWNER, "web")
        assert row is not None
        return await sit_down(bridge, bridge.engine(ENGINE), row, interval)

    async def typed(self, count: int) -> None:
        """Waits until so many keys have come in."""
        while len(self.screen.keys) < count:  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.fixture
def play(
    request: pytest.FixtureRequest, run_virtually: Callable[[Coroutine[Any, Any, Any]], Any]
) -> Callable[..., Any]:
    """Runs `scenario(console)` with the Machine `web`, which is up unless it is said otherwise. Only
    `over_tls` the engine has certificates, and so have its hosts."""

    def run(
        scenario: Callable[[Console], Coroutine[Any, Any, None]],
        *,
        up: bool = True,
        over_tls: bool = False,
        **options: Any,
    ) -> None:
        site = request.getfixturevalue("site" if over_tls else "direct_site")

        async def with_site() -> None:
            async with site(**options) as s:
                start = {"start_with": started()} if up else {}
                await s.run("CreateMachine", key="web", spec=spec(), **start)
                await scenario(Console(s))

        run_virtually(with_site())

    return run


def text(characters: str) -> list[consoles_pb2.KeyEvent]:
    return [KeyEvent(character=character) for character in characters]


def test_a_text_arrives_as_it_was_given_shift_and_all(play):
    async def scenario(console: Console) -> None:
        typist = await console.open()
        await typist.type([*text(PRINTABLE), KeyEvent(special="Enter")])
        await typist.leave()
        shifted = sum(character in '~!@#$%^&*()_+{}|:"<>?' or character.isupper() for character in PRINTABLE)
        await console.typed(2 * (len(PRINTABLE) + shifted + 1))
        assert console.screen.text == PRINTABLE + "<ff0d>"
        assert typist.typed == len(PRINTABLE) + 1
        assert typist.description == f"127.0.0.1:{console.screen.port}"

    play(scenario)


def test_keys_that_are_held_down_are_held_down_and_let_up_in_the_end(play):
    async def scenario(console: Console) -> None:
        typist = await console.open()
        held = [KeyEvent(special=name, action=KeyEvent.ACTION_DOWN) for name in ("leftCtrl", "LEFTALT")]
        await typist.type([*held, KeyEvent(special="del")])
        await typist.leave()
        await console.typed(6)
        names = {keysym: name for name, keysym in SPECIAL.items()}
        assert [(names[keysym], down) for keysym, down in console.screen.keys] == [
            ("leftctrl", True),
            ("leftalt", True),
            ("del", True),
            ("del", False),
            ("leftalt", False),
            ("leftctrl", False),
        ]

    play(scenario)


@pytest.mark.parametrize(("interval", "seconds"), [(None, 0.3), (2.0, 6.0), (0.0, 0.0)])
def test_keys_are_paced(play, interval, seconds):
    async def scenario(console: Console) -> None:
        typist = await console.open(interval)
        began = console.site.clock.monotonic()
        await typist.type(text("abc"))
        assert console.site.clock.monotonic() - began == pytest.approx(seconds)
        await typist.leave()

    play(scenario)


def test_a_machine_that_is_being_started_is_waited_for(play):
    async def scenario(console: Console) -> None:
        starting = await console.site.call("StartMachine", key="web")
        typist = await console.open()
        assert console.vm.status == "powering_up"
        await typist.type(text("x"))
        await typist.leave()
        assert (await console.site.ended(starting)).state == "succeeded"

    play(scenario, up=False)


def test_one_that_takes_too_long_is_not(play):
    async def scenario(console: Console) -> None:
        starting = await console.site.call("StartMachine", key="web")
        with pytest.raises(MachineNotRunning, match=r"is down, still after 0.5 s"):
            await console.open()
        await console.site.ended(starting)

    play(scenario, up=False, console=0.5)


def test_a_machine_that_nobody_starts_is_told_of_at_once(play):
    async def scenario(console: Console) -> None:
        began = console.site.clock.monotonic()
        with pytest.raises(MachineNotRunning, match="'web' is down, and nothing is about to start it"):
            await console.open()
        assert console.site.clock.monotonic() == began

    play(scenario, up=False)


def encrypt(console: Console) -> None:
    """Has the cluster offer consoles over TLS alone, from the next start on."""
    console.vm.cluster.config = node("cluster", None, node("vnc_encryption", "true"))


def test_a_cluster_with_vnc_encryption_is_typed_to_over_tls(play):
    async def scenario(console: Console) -> None:
        encrypt(console)
        await console.site.run("StartMachine", key="web")
        typist = await console.open()
        await typist.type(text("Secret!"))
        await typist.leave()
        assert console.screen.text == "Secret!"
        assert typist.description == f"127.0.0.1:{console.screen.port} by TLS"

    play(scenario, up=False, over_tls=True)


@pytest.mark.parametrize("defence", ["on", "off"])
def test_a_host_with_the_certificate_of_another_ca_is_typed_nothing(play, monkeypatch, tmp_path, defence):
    async def scenario(console: Console) -> None:
        encrypt(console)
        await console.site.run("StartMachine", key="web")
        make_certificates(tmp_path / "other", "127.0.0.1")
        monkeypatch.setattr(console.screen, "_certificates", tmp_path / "other")
        if defence == "on":
            with pytest.raises(ConsoleTlsRefused, match="certificate"):
                await console.open()
            assert console.screen.keys == []
            return
        profile = console.site.bridge.config.engines[ENGINE].model_copy(update={"insecure": True})
        monkeypatch.setattr(console.site.bridge.engine(ENGINE).consoles, "_profile", profile)
        typist = await console.open()
        await typist.type(text("secret"))
        await typist.leave()
        assert console.screen.text == "secret"

    play(scenario, up=False, over_tls=True)


def test_what_keeps_keys_from_a_guest_is_named(play, monkeypatch):
    async def scenario(console: Console) -> None:
        async def refused(error: type[ProvisionError], words: str) -> None:
            with pytest.raises(error, match=words):
                await console.open()

        port = console.screen.port
        with monkeypatch.context() as patch:
            patch.setattr(console.screen, "let_in", lambda _ticket, _seconds: None)
            await refused(ConsoleTicketRefused, f"at 127.0.0.1:{port} refuses.*: Authentication failed")
        with monkeypatch.context() as patch:
            patch.setattr("ovirt_provision.simulator.guests.screen._VNC", 20)
            await refused(ConsoleUnsupported, "it offers SASL, and neither VNC nor VeNCrypt")
        with monkeypatch.context() as patch:
            patch.setattr("ovirt_provision.simulator.guests.screen._VERSION", b"SSH-2.0-Open")
            await refused(ConsoleUnsupported, "not that it is VNC 3.8")
        console.screen.close()
        await refused(ConsoleUnreachable, f"at 127.0.0.1:{port}: .*refused")
        vm = console.vm.id
        console.site.simulator.call("DELETE", f"/vms/{vm}/graphicsconsoles/766e63")
        await refused(NoVncConsole, "the VM of Machine 'web' has no VNC console")
        console.vm.comment = ""
        await refused(NotOurs, "was not made by this installation")

    play(scenario)


def test_a_guest_that_goes_down_meanwhile_is_told_of(play):
    async def scenario(console: Console) -> None:
        typist = await console.open()
        await typist.type(text("ab"))
        console.vm.guest.power_off()
        while not typist._client.lost:  # noqa: ASYNC110
            await asyncio.sleep(0)
        with pytest.raises(ConsoleLost, match="has hung up after 2 key events"):
            await typist.type(text("c"))
        await typist.leave()

    play(scenario)


def test_no_ticket_is_told_or_written(play, monkeypatch, tmp_path):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log = io.StringIO()
    logs.configure(log, logging.DEBUG)
    tickets: list[str] = []
    let_in = RecordingScreen.let_in

    def noted(screen: RecordingScreen, ticket: str, seconds: float) -> None:
        tickets.append(ticket)
        let_in(screen, ticket, seconds)

    monkeypatch.setattr(RecordingScreen, "let_in", noted)
    told: list[str] = []

    async def scenario(console: Console) -> None:
        typist = await console.open()
        await typist.type(text("x"))
        await typist.leave()
        told.append(repr(vars(typist)))
        console.screen.close()
        with pytest.raises(ConsoleUnreachable) as refused:
            await console.open()
        told.append(repr(refused.value.report()) + repr(vars(refused.value)))

    try:
        play(scenario)
    finally:
        root.handlers[:], _ = handlers, root.setLevel(level)
    assert len(set(tickets)) == 2
    files = [file for file in (tmp_path / "state").rglob("*") if file.is_file()]
    written = [file.read_bytes().decode("latin-1") for file in files]
    for ticket in tickets:
        assert not [place for place in (*told, *written, log.getvalue()) if ticket in place]
