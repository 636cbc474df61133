"""Who a caller is, by certificate, by token and on the unix socket, seen from the wire."""

import contextlib
import hashlib
import os
import socket

import grpc
import pytest
from cryptography.x509 import DNSName, RFC822Name, UniformResourceIdentifier
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ovirt_provision.clock import SystemClock
from ovirt_provision.config import Config
from ovirt_provision.services.calls import caller_of
from ovirt_provision.services.errors import from_rpc_error
from ovirt_provision.services.server import PortUnusable, Server
from ovirt_provision.v1 import engines_pb2, engines_pb2_grpc
from tests.certificates import Authority

CI = "spiffe://example.com/ci"
OWNERS = {CI: {}, "anna@example.com": {"role": "admin"}, "build.example.com": {}}


class WhoAmI(engines_pb2_grpc.EngineServiceServicer):
    async def ListEngines(self, request, context):
        return engines_pb2.ListEnginesResponse(daemon={"version": caller_of(context).owner})


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "pki")


@pytest.fixture
async def listen(tmp_path, authority):
    """Starts a server with these settings of `tls`; returns what makes a channel to it."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(certificate=None, **tls):
            own = certificate or authority.daemon()
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                address = f"127.0.0.1:{probe.getsockname()[1]}"
            config = Config.model_validate(
                {
                    "owners": OWNERS,
                    "tls": {"listen": address, "cert_file": str(own.cert_file), "key_file": str(own.key_file)}
                    | {name: str(value) for name, value in tls.items()},
                }
            )
            add = engines_pb2_grpc.add_EngineServiceServicer_to_server
            server = Server([(add, WhoAmI())], SystemClock(), config)
            await server.start(tmp_path / "socket")
            stack.push_async_callback(server.stop, 0)
            await server.open()

            def channel(client=None, token=None, ca=authority):
                pair = (client.key_file.read_bytes(), client.cert_file.read_bytes()) if client else ()
                credentials = grpc.ssl_channel_credentials(ca.ca_file.read_bytes(), *pair)
                if token is not None:
                    bearer = grpc.access_token_call_credentials(token)
                    credentials = grpc.composite_channel_credentials(credentials, bearer)
                return grpc.aio.secure_channel(address, credentials)

            return channel

        yield start


async def who(channel):
    """The owner that the daemon takes the caller for, or the reason of its refusal."""
    async with channel:
        stub = engines_pb2_grpc.EngineServiceStub(channel)
        try:
            return (await stub.ListEngines(engines_pb2.ListEnginesRequest(), timeout=20)).daemon.version
        except grpc.aio.AioRpcError as error:
            report = from_rpc_error(error)
            return f"{report.reason}: {report.message}"


async def test_which_name_of_a_certificate_is_the_owner(listen, authority):
    uri, mail = UniformResourceIdentifier(CI), RFC822Name("anna@example.com")
    dns, other = DNSName("build.example.com"), DNSName("other.example.com")
    channel = await listen(client_ca_file=authority.ca_file)

    async def owner(*names, common_name="somebody"):
        return await who(channel(authority.sign(common_name, *names)))

    assert await owner(uri) == CI
    assert await owner(dns, mail, uri) == CI
    assert await owner(dns, other, mail) == "anna@example.com"
    assert await owner(dns) == "build.example.com"
    assert "2 subject alternative names of the kind URI" in await owner(
        uri, UniformResourceIdentifier("spiffe://example.com/two"), mail
    )
    assert (await owner(dns, other)).startswith("NOT_AUTHENTICATED: ")
    assert (await owner(common_name="build.example.com")).startswith("NOT_AUTHENTICATED: ")
    assert (await owner(other)).startswith("OWNER_UNKNOWN: 'other.example.com'")
    nobody = UniformResourceIdentifier(f"uid:{os.getuid()}")
    assert (await owner(nobody)).startswith(f"OWNER_UNKNOWN: 'uid:{os.getuid()}'")


async def test_a_name_of_the_unix_socket_is_not_let_in_from_elsewhere_though_it_is_named(
    listen, authority, monkeypatch
):
    monkeypatch.setitem(OWNERS, f"uid:{os.getuid()}", {"role": "admin"})
    channel = await listen(client_ca_file=authority.ca_file)
    forged = authority.sign("root", UniformResourceIdentifier(f"uid:{os.getuid()}"))
    assert (await who(channel(forged))).startswith("OWNER_UNKNOWN")


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "tokens"
    hashes = {token: hashlib.sha256(token.encode()).hexdigest() for token in ("first", "second")}
    file.write_text("# of ci\n\n" + "".join(f"{CI} sha256:{digest}\n" for digest in hashes.values()))
    file.chmod(0o600)
    return file


async def test_an_owner_has_as_many_tokens_as_it_likes(listen, token_file):
    channel = await listen(token_file=token_file)
    assert await who(channel(token="first")) == CI
    assert await who(channel(token="second")) == CI
    assert (await who(channel(token="third"))).startswith("NOT_AUTHENTICATED")


async def test_nobody_gets_in_by_a_token_file_that_others_can_read(listen, token_file):
    channel = await listen(token_file=token_file)
    token_file.chmod(0o640)
    assert (await who(channel(token="first"))).startswith("AUTHENTICATION_DOWN")
    token_file.chmod(0o600)
    assert await who(channel(token="first")) == CI


async def test_without_a_token_health_answers_and_reflection_does_not(listen, token_file):
    async with (await listen(token_file=token_file))() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asking = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            [reply async for reply in reflection.ServerReflectionInfo(asking)]
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_certificates_are_read_anew(listen, authority, tmp_path):
    new = Authority(tmp_path / "new")
    own = authority.daemon()
    channel = await listen(certificate=own, client_ca_file=authority.ca_file)
    old_client, new_client = authority.client(CI), new.client(CI)
    assert await who(channel(old_client)) == CI
    assert (await who(channel(new_client, ca=new))).startswith("UNAVAILABLE")
    replacement = new.daemon()
    for file, by in (
        (own.cert_file, replacement.cert_file),
        (own.key_file, replacement.key_file),
        (authority.ca_file, new.ca_file),
    ):
        by.rename(file)
    new.ca_file.write_bytes(authority.ca_file.read_bytes())
    assert await who(channel(new_client, ca=new)) == CI
    assert (await who(channel(old_client, ca=new))).startswith("UNAVAILABLE")


async def test_a_port_that_is_taken_is_named(authority, tmp_path):
    own = authority.daemon()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        tls = {
            "listen": f"127.0.0.1:{taken.getsockname()[1]}",
            "cert_file": str(own.cert_file),
            "key_file": str(own.key_file),
            "client_ca_file": str(authority.ca_file),
        }
        server = Server([], SystemClock(), Config.model_validate({"owners": OWNERS, "tls": tls}))
        with pytest.raises(PortUnusable, match=tls["listen"]):
            await server.start(tmp_path / "socket")
        await server.stop(0)
