"""How the engine speaks: logging in, statuses, headers, formats, refusals."""

import json
import re

import pytest
from lxml import etree

from ovirt_provision.simulator.router import make_router
from ovirt_provision.simulator.surface import OPERATIONS

IDLE = 31 * 60  # seconds; sessions die after 30 minutes
UNKNOWN = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
TOKEN = "//ovirt-engine/sso/oauth/token"


async def log_in(lab, password=None, username="admin@internal", accept="application/json"):
    form = f"grant_type=password&scope=ovirt-app-api&username={username.replace('@', '%40')}&password="
    return await lab.request(
        "POST",
        TOKEN,
        form + (lab.simulator.password if password is None else password),
        Content_Type="application/x-www-form-urlencoded",
        Accept=accept,
        Authorization=None,
    )


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        (
            {"password": "wrong"},
            "access_denied",
            "Cannot authenticate user 'admin@internal': Unable to log in. Verify your login information or "
            "contact "
            "the system administrator..",
        ),
        (
            {"username": "admin@nowhere"},
            "access_denied",
            "Cannot authenticate user 'admin@nowhere': No valid profile found in credentials..",
        ),
        (
            {"username": "admin"},
            "access_denied",
            "Cannot authenticate user 'admin@N/A': No valid profile found in credentials..",
        ),
        ({"accept": "application/xml"}, "invalid_request", "Missing parameter: 'Accept Header'"),
    ],
)
def test_a_refused_login_is_400_and_says_why(play, given, code, text):
    async def scenario(lab):
        reply = await log_in(lab, **given)
        assert (reply.status, reply.headers["Content-Type"]) == (400, "application/json")
        assert json.loads(reply.text) == {"error_code": code, "error": text}

    play(scenario, profile="fast")


def test_a_session_dies_when_idle_whatever_its_expiry_says(play):
    async def scenario(lab):
        token = json.loads((await log_in(lab)).text)
        assert int(token["exp"]) / 1000 - lab.clock.time() > 24 * 3600
        bearer = f"Bearer {token['access_token']}"
        assert (await lab.request("GET", "", Authorization=bearer)).status == 200
        await lab.clock.sleep(IDLE)
        refused = await lab.request("GET", "", Authorization=bearer)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"] == 'Basic realm="RESTAPI"'
        assert refused.text == (
            "<html><head><title>Error</title></head><body>invalid_grant: The provided authorization grant "
            "for the auth "
            "code has expired.</body></html>"
        )

    play(scenario)


def test_logging_out_ends_one_session_only(play):
    async def scenario(lab):
        tokens = [json.loads((await log_in(lab)).text)["access_token"] for _ in range(2)]
        reply = await lab.request(
            "POST",
            "//ovirt-engine/services/sso-logout",
            f"scope=&token={tokens[0]}",
            Content_Type="application/x-www-form-urlencoded",
            Authorization=None,
        )
        assert (reply.status, reply.text) == (200, "{ }")
        statuses = [
            (await lab.request("GET", "/vms", Authorization=f"Bearer {one}")).status for one in tokens
        ]
        assert statuses == [401, 200]

    play(scenario)


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [("a b/c;d", "abcd"), ("x" * 50, "x" * 36), ("build-7", "build-7"), ("disk_1", "disk_1")],
)
def test_a_correlation_id_is_cleaned_and_echoed(play, sent, echoed):
    async def scenario(lab):
        reply = await lab.request("GET", f"/vms/{UNKNOWN}", Correlation_Id=sent)
        assert (reply.status, reply.headers["Correlation-Id"]) == (404, echoed)
        assert re.fullmatch(r"[0-9a-f-]{36}", (await lab.request("GET", "/vms")).headers["Correlation-Id"])

    play(scenario)


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", f"/vms/{UNKNOWN}", 404, ""),
        ("GET", "/vms/notauuid", 404, ""),
        ("DELETE", f"/disks/{UNKNOWN}", 404, ""),
        ("GET", "/bogus", 404, "RESTEASY003210: Could not find resource for full path: "),
        ("GET", f"/vms/{UNKNOWN}/nics", 200, "<nics/>"),
        ("POST", f"/vms/{UNKNOWN}/start", 500, "java.lang.NullPointerException"),
        ("DELETE", "/vms", 405, ""),
        ("GET", "/vms?max=-1", 400, "illegal max count value for query : -1"),
        ("GET", "/templates?follow=bogus", 500, "<html>"),
        ("GET", "/v3", 405, "HTTP method GET is not supported by this URL"),
    ],
)
def test_refusals_have_the_engines_statuses_and_texts(play, method, path, status, text):
    async def scenario(lab):
        reply = await lab.request(method, path, "<action/>" if method == "POST" else "")
        assert reply.status == status
        assert text in reply.text
        assert bool(reply.content) == bool(text)

    play(scenario)


def test_what_is_not_simulated_is_told_by_its_name(play):
    """Whichever that is: the list shrinks."""
    router = make_router()

    async def scenario(lab):
        for method in ("GET", "POST"):
            one = next(
                one
                for one in OPERATIONS
                if one.method == method and not one.mandatory and not router.simulates(one)
            )
            path = one.path.replace("{id}", UNKNOWN)
            reply = await lab.request(method, path, "<action/>" if method == "POST" else "")
            named = f"{one.service}.{one.name} ({method} {one.path}) is not simulated"
            assert (reply.status, named in reply.text) == (501, True)

    play(scenario)


def vm(rest):
    return f"<vm>{rest}<cluster><name>Default</name></cluster><template><name>Blank</name></template></vm>"


@pytest.mark.parametrize(
    ("body", "status", "reason", "detail"),
    [
        ("<vm/>", 400, "Incomplete parameters", "Vm [cluster.id|name] required for add"),
        (vm(""), 400, "Incomplete parameters", "Vm [name] required for add"),
        (
            "<vm><name>a</name><cluster><name>No</name></cluster><template><name>Blank</name></template></vm>",
            404,
            "Operation Failed",
            "Entity not found: Cluster: name=No",
        ),
        (
            vm("<name>a</name><type>bogus</type>"),
            400,
            "Invalid value",
            "The string 'bogus' isn't a valid value for the 'VmType' enumerated type. Valid values are: "
            "'desktop', "
            "'server', 'high_performance'.",
        ),
        (
            vm("<name>a</name><memory>1</memory>"),
            400,
            "Operation Failed",
            "[must be greater than or equal to 1, Attribute: vmStatic.memSizeMb, must be greater than or "
            "equal to 1, "
            "Attribute: vmStatic.memSizeMb]",
        ),
        (
            vm("<name>a</name><bogus/>"),
            400,
            "Request syntactically incorrect.",
            "apidoc#services/vms/methods/add",
        ),
        ("<vm><name>", 400, "Request syntactically incorrect.", "apidoc#services/vms/methods/add"),
        (
            '<!DOCTYPE vm [<!ENTITY e SYSTEM "file:///etc/passwd">]><vm><name>&e;</name></vm>',
            400,
            "Request syntactically incorrect.",
            "apidoc#services/vms/methods/add",
        ),
    ],
)
def test_a_vm_that_cannot_be_is_a_fault(play, body, status, reason, detail):
    async def scenario(lab):
        reply = await lab.request("POST", "/vms", body)
        assert reply.status == status
        fault = etree.fromstring(reply.content)
        assert (fault.tag, fault.findtext("reason")) == ("fault", reason)
        assert fault.findtext("detail").endswith(detail)
        assert not lab.world.vms

    play(scenario)


def test_a_create_answers_201_with_the_engines_malformed_location(play):
    async def scenario(lab):
        reply = await lab.request("POST", "/vms", vm("<name>a</name>"))
        made = lab.world.vm_named("a")
        assert reply.status == 201
        host = lab.simulator.url.rpartition("/ovirt-engine/api")[0]
        assert reply.headers["Location"] == f"{host}/ovirt-engine/api/v4/ovirt-engine/api/vms/{made.id}"
        assert reply.headers["Content-Type"] == "application/xml;charset=UTF-8"
        assert reply.text.startswith('<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<vm href=')
        assert "\n    <name>a</name>\n    <description></description>\n" in reply.text

    play(scenario)


def test_requests_need_a_known_content_type_and_replies_an_acceptable_one(play):
    async def scenario(lab):
        for kind in (None, "text/plain"):
            assert (await lab.request("POST", "/vms", "<vm/>", Content_Type=kind)).status == 415
        assert (await lab.request("GET", "", Accept="text/html")).status == 406
        as_json = json.loads((await lab.request("GET", "", Accept="application/json")).text)
        assert as_json["product_info"]["version"]["major"] == "4"
        assert as_json["time"] == round(lab.clock.time() * 1000)
        fault = await lab.request(
            "POST", "/vms", '{"name": "a"}', Content_Type="application/json", Accept="application/json"
        )
        assert json.loads(fault.text)["reason"] == "Incomplete parameters"

    play(scenario)


def test_v4_in_the_path_comes_back_in_links(play):
    async def scenario(lab):
        reply = await lab.request("GET", "/v4/clusters")
        assert 'href="/ovirt-engine/api/v4/clusters/' in reply.text
        assert 'href="/ovirt-engine/api/clusters/' not in reply.text

    play(scenario)


def test_the_ca_and_health_pages_need_no_login(play):
    async def scenario(lab):
        query = "resource=ca-certificate&format=X509-PEM-CA"
        ca = await lab.request("GET", f"//ovirt-engine/services/pki-resource?{query}", Authorization=None)
        with open(lab.simulator.ca_file, "rb") as file:  # noqa: ASYNC230, PTH123
            assert ca.content == file.read()
        health = await lab.request("GET", "//ovirt-engine/services/health", Authorization=None)
        assert health.text == "DB Up!Welcome to Health Status!"

    play(scenario)


def test_requests_are_counted_by_what_they_do(play):
    async def scenario(lab):
        await lab.request("GET", "/vms")
        await lab.request("POST", "/vms", vm("<name>a</name>"))
        await lab.request("GET", f"/vms/{lab.world.vm_named('a').id}")
        reply = await lab.request("GET", "//simulator/requests")
        counts = json.loads(reply.text)
        assert (counts["reading"], counts["mutating"]) == (2, 1)
        assert counts["operations"] == {"GET /vms": 1, "GET /vms/{id}": 1, "POST /vms": 1}
        assert [one.status for one in lab.simulator.requests[:3]] == [200, 201, 200]

    play(scenario)
