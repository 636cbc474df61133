"""Login, expiry and what goes wrong between us and the engine: each told apart, none a traceback."""

import asyncio
import socket
from typing import Any

import pytest
from ovirtsdk4 import types

from ovirt_provision.engine.session import Session
from ovirt_provision.errors import (
    EngineBroken,
    EngineCertificateInvalid,
    EngineLoginFailed,
    EngineRefused,
    EngineSessionExpired,
    EngineUnreachable,
)
from ovirt_provision.simulator import Simulator
from ovirt_provision.simulator.certificates import make_certificates

VM = (
    "<vm><name>large-{}</name><cluster><name>Default</name></cluster>"
    '<template id="00000000-0000-0000-0000-000000000000"/></vm>'
)


def logins(simulator: Simulator) -> int:
    return sum("sso/oauth/token" in request.path for request in simulator.requests)


def test_the_version_is_read(simulated, run_virtually):
    async def scenario() -> str:
        async with simulated() as (_, engine):
            return await engine.version()

    assert run_virtually(scenario()).startswith("4.")


def test_a_wrong_password_is_told_with_the_engines_words_and_never_shown(simulated, run_virtually):
    async def scenario() -> None:
        async with simulated(password="canary-7f3a") as (_, engine):
            with pytest.raises(EngineLoginFailed) as failed:
                await engine.version()
            report = failed.value.report()
            assert "admin@internal" in report.message
            assert "Cannot authenticate user" in report.engine_text
            assert "canary" not in repr(report)

    run_virtually(scenario())


def test_another_ca_is_told_as_a_certificate_problem_with_advice(simulated, run_virtually, tmp_path):
    other, _ = make_certificates(tmp_path / "other", "127.0.0.1")

    async def scenario() -> None:
        async with simulated(ca_file=str(other)) as (_, engine):
            with pytest.raises(EngineCertificateInvalid) as failed:
                await engine.version()
            assert "OVIRT_CAFILE" in failed.value.report().advice

    run_virtually(scenario())


def test_an_engine_that_does_not_answer_is_unreachable(simulated, run_virtually):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    async def scenario() -> None:
        async with simulated(url=f"https://127.0.0.1:{port}/ovirt-engine/api") as (_, engine):
            with pytest.raises(EngineUnreachable, match=str(port)):
                await engine.version()

    run_virtually(scenario())


def test_a_large_answer_that_is_of_no_use_keeps_no_other_waiting(simulated, run_virtually):
    def fail(system: Any) -> None:
        assert len(system.vms_service().list()) == 20
        raise LookupError("of no use")

    async def scenario() -> None:
        async with simulated() as (simulator, engine):
            for number in range(20):
                assert simulator.call("POST", "/vms", VM.format(number)).status == 201
            outcomes = await asyncio.gather(
                *(engine.session.call("fail", fail) for _ in range(20)), return_exceptions=True
            )
            assert [type(outcome) for outcome in outcomes] == [LookupError] * 20
            assert len(await engine.machines.search("name=large-*")) == 20

    run_virtually(scenario())


def test_an_expired_session_is_renewed_without_anybody_noticing(simulated, run_virtually):
    async def scenario() -> None:
        async with simulated() as (simulator, engine):
            await engine.version()
            simulator.world.injections.arm("unauthorized")

            await engine.version()

            assert logins(simulator) == 2

    run_virtually(scenario())


def test_many_callers_share_one_login_and_one_renewal(simulated, run_virtually):
    async def scenario() -> None:
        async with simulated() as (simulator, engine):
            await asyncio.gather(*(engine.version() for _ in range(12)))
            assert logins(simulator) == 1
            simulator.sessions.revoke_all()
            await asyncio.gather(*(engine.version() for _ in range(12)))
            assert logins(simulator) == 2

    run_virtually(scenario())


def test_callers_who_log_in_for_themselves_are_noticed(simulated, run_virtually, monkeypatch):
    """The defence switched off: as the SDK would do it."""

    async def log_in_alone(session: Session) -> str:
        if session._token is None:
            session._token = await session._in_thread(session._log_in)
        return session._token

    monkeypatch.setattr(Session, "_logged_in", log_in_alone)

    async def scenario() -> int:
        async with simulated() as (simulator, engine):
            await asyncio.gather(*(engine.version() for _ in range(12)))
            return logins(simulator)

    assert run_virtually(scenario()) > 1


def test_many_callers_share_one_refused_login_too(simulated, run_virtually):
    """A thousand operations with a wrong password must not lock the account."""

    async def scenario() -> None:
        async with simulated(password="canary-7f3a") as (simulator, engine):
            simulator.world.timing = simulator.world.timing.model_copy(update={"refused_login": 0.0})
            told = await asyncio.gather(*(engine.version() for _ in range(12)), return_exceptions=True)
            assert {type(error) for error in told} == {EngineLoginFailed}
            # What a caller adds to its error is not told to the others.
            assert len({id(error) for error in told}) == 12
            assert logins(simulator) == 1

    run_virtually(scenario())


def test_a_token_that_was_rejected_leaves_no_second_session(simulated, run_virtually):
    async def scenario() -> None:
        async with simulated() as (simulator, engine):
            await engine.version()
            simulator.world.injections.arm("unauthorized")
            await engine.version()
            assert logins(simulator) == 2
            assert len(simulator.sessions) == 1

    run_virtually(scenario())


def test_a_caller_that_gives_up_takes_nobody_elses_login_with_it(simulated, run_virtually):
    async def scenario() -> None:
        async with simulated() as (simulator, engine):
            impatient = asyncio.create_task(engine.version())
            await asyncio.sleep(0)
            patient = asyncio.create_task(engine.version())
            await asyncio.sleep(0)
            impatient.cancel()
            assert (await patient).startswith("4.")
            assert logins(simulator) == 1

    run_virtually(scenario())


def test_a_session_that_cannot_be_renewed_is_an_error_of_its_own(simulated, run_virtually):
    async def scenario() -> None:
        async with simulated() as (simulator, engine):
            await engine.version()
            simulator.world.injections.arm("unauthorized", times=2)
            with pytest.raises(EngineSessionExpired):
                await engine.version()

    run_virtually(scenario())


def test_a_login_that_an_engine_in_trouble_cannot_answer_is_not_a_wrong_password(
    simulated, run_virtually, monkeypatch
):
    async def scenario() -> None:
        async with simulated() as (_, engine):
            answer = (500, '{"error_code": "server_error", "error": "cannot reach the database"}')
            monkeypatch.setattr(engine.session, "_post_form", lambda path, fields: answer)
            with pytest.raises(EngineBroken, match="cannot reach the database"):
                await engine.version()

    run_virtually(scenario())


@pytest.mark.parametrize("once", [True, False])
def test_a_create_whose_reply_is_lost_goes_out_once(simulated, run_virtually, once):
    """Without that care curl sends it again by itself, over a new connection."""

    async def scenario() -> int:
        async with simulated() as (simulator, engine):
            await engine.version()
            simulator.world.injections.arm("drop-reply", method="POST")
            vm = types.Vm(
                name="web", cluster=types.Cluster(name="Default"), template=types.Template(name="Blank")
            )
            with pytest.raises((EngineUnreachable, EngineRefused)):
                await engine.session.call(
                    "create VM web", lambda system: system.vms_service().add(vm), once=once
                )
            return sum(request.mutates for request in simulator.requests)

    assert run_virtually(scenario()) == (1 if once else 2)


def test_a_proxys_html_503_is_the_engine_being_broken(simulated, run_virtually):
    async def scenario() -> None:
        async with simulated() as (simulator, engine):
            simulator.world.injections.arm("unavailable")
            with pytest.raises(EngineBroken):
                await engine.version()
            await engine.version()

    run_virtually(scenario())


def test_closing_logs_out(simulated, run_virtually):
    async def scenario() -> None:
        async with simulated() as (simulator, engine):
            await engine.version()
            await engine.close()
            assert len(simulator.sessions) == 0

    run_virtually(scenario())
