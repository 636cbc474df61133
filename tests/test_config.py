"""What a user sees who configures the daemon, rightly and wrongly."""

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from ovirt_provision import logs
from ovirt_provision.config import Config, ConfigError, NoEngine, Timeouts, fingerprint, load
from ovirt_provision.errors import EngineMismatch, EngineProfileNotFound

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
CANARY = "canary-51ac"
URL = "https://engine.example.com/ovirt-engine/api"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_text(PEM)
    (tmp_path / "password").write_text(f"{CANARY}\n")
    return tmp_path


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    return {
        "OVIRT_URL": URL,
        "OVIRT_USERNAME": "admin@internal",
        "OVIRT_PASSWORD": CANARY,
        "OVIRT_CAFILE": str(folder / "ca.pem"),
    }


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "config.yaml"
    file.write_text(text)
    file.chmod(mode)
    return file


def complaints(file: Path, environ: dict[str, str] | None = None) -> dict[str, str]:
    """Field -> description of all that is wrong; the canary is in none of it."""
    with pytest.raises(ConfigError) as refused:
        load(file, environ or {})
    assert CANARY not in str(refused.value)
    assert CANARY not in repr(refused.value.report())
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None or refused.value.__suppress_context__ is True
    return {violation.field: violation.description for violation in refused.value.violations}


def test_a_file_with_several_engines(folder):
    file = written(
        folder,
        f"""
        default_engine: lab
        engines:
          production: {{url: {URL}, username: ci@internal, password_file: password, ca_file: ca.pem}}
          lab: {{url: "http://lab:1/ovirt-engine/api", username: a, password: s{CANARY}, insecure: true}}
        timeouts: {{create_template: 7200}}
        listen: daemon.sock
        """,
    )
    config = load(file, {})

    name, engine = config.engine("")
    assert (name, engine.insecure) == ("lab", True)
    _, production = config.engine("production")
    assert production.read_password().get_secret_value() == CANARY
    assert production.read_ca() == PEM.encode()
    assert config.timeouts.create_template == 7200
    assert config.timeouts.renew_interval == 30
    assert config.listen == folder / "daemon.sock"
    assert CANARY not in repr(config)


def test_a_changed_password_file_is_read_again(folder):
    text = f"engines: {{one: {{url: '{URL}', username: a, password_file: password}}}}"
    _, engine = load(written(folder, text), {}).engine("")
    (folder / "password").write_text("canary-next\n")
    assert engine.read_password().get_secret_value() == "canary-next"
    assert logs.redact("canary-next") == logs.REDACTED
    (folder / "password").unlink()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        engine.read_password()


def test_a_systemd_credential(folder, monkeypatch):
    file = written(folder, f"engines: {{one: {{url: '{URL}', username: a, password_credential: password}}}}")
    assert "LoadCredential" in complaints(file)["engines.one.password_credential"]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    _, engine = load(file, {}).engine("")
    assert engine.read_password().get_secret_value() == CANARY


def test_the_usual_variables_make_a_profile(folder, environment):
    config = load(folder / "absent.yaml", environment)
    name, engine = config.engine("")
    assert name == "env"
    assert (engine.url, engine.username) == (URL, "admin@internal")
    assert engine.read_password().get_secret_value() == CANARY
    assert engine.insecure is False


def test_variables_beside_a_file(folder, environment):
    one = f"one: {{url: '{URL}', username: a, password_file: password}}"
    assert load(written(folder, f"engines: {{{one}}}"), environment).default_engine == "env"
    file = written(folder, f"default_engine: one\nengines: {{{one}}}")
    config = load(file, environment)
    assert config.default_engine == "one"
    assert set(config.engines) == {"one", "env"}
    file = written(folder, f"engines: {{env: {{url: '{URL}', username: a, password_file: password}}}}")
    assert "OVIRT_URL" in complaints(file, environment)["engines.env"]


def test_what_is_wrong_with_the_variables_is_said_by_their_names(folder, environment):
    bad = {"OVIRT_URL": "http://engine/api", "OVIRT_CAFILE": str(folder / "none.pem")}
    found = complaints(folder / "absent.yaml", bad)
    assert set(found) == {"OVIRT_URL", "OVIRT_USERNAME", "OVIRT_PASSWORD", "OVIRT_CAFILE"}
    assert "in the clear" in found["OVIRT_URL"]
    assert "No such file" in found["OVIRT_CAFILE"]


def test_a_relative_cafile_needs_the_folder_that_it_is_relative_to(folder, environment):
    environment["OVIRT_CAFILE"] = "ca.pem"
    assert "absolute" in complaints(folder / "absent.yaml", environment)["OVIRT_CAFILE"]
    _, engine = load(folder / "absent.yaml", environment, folder=folder).engine("")
    assert engine.ca_file == folder / "ca.pem"


def test_no_engine_at_all_names_every_way_to_one(folder):
    for file in (folder / "absent.yaml", written(folder, ""), written(folder, "engines:")):
        with pytest.raises(NoEngine) as refused:
            load(file, {})
        text = f"{refused.value} {refused.value.what_to_do}"
        for way in (str(file), "OVIRT_URL", "OVIRT_PASSWORD", "ovirt-provision simulate"):
            assert way in text


def test_everything_that_is_wrong_is_said_at_once(folder):
    file = written(
        folder,
        f"""
        defualt_engine: prod
        engines:
          prod:
            url: engine.example.com
            usrname: a
            password: {CANARY}
            password_file: password
            ca_file: config.yaml
            connections: many
          2nd engine: {{}}
          bare:
        timeouts: {{create: 1, start: -5, seal: .inf}}
        """,
    )
    found = complaints(file)
    assert "did you mean 'default_engine'?" in found["defualt_engine"]
    assert URL in found["engines.prod.url"]
    assert "did you mean 'username'?" in found["engines.prod.usrname"]
    assert found["engines.prod.username"] == "is required"
    assert "exactly one of" in found["engines.prod.password"]
    assert "no certificate" in found["engines.prod.ca_file"]
    assert "integer" in found["engines.prod.connections"]
    assert "pattern" in found["engines.2nd engine"]
    assert found["engines.bare"] == "must be a mapping of names to values"
    assert "known are" in found["timeouts.create"] or "did you mean" in found["timeouts.create"]
    assert "greater than 0" in found["timeouts.start"]
    assert "finite" in found["timeouts.seal"]
    assert "several engines" in found["default_engine"]


@pytest.mark.parametrize(
    "url",
    [
        f"https://admin:{CANARY}@engine.example.com/ovirt-engine/api",
        f"https://engine.example.com/ovirt-engine/api?password={CANARY}",
        "https://engine.example.com",
        "https://engine.example.com/ovirt-engine/webadmin",
        "https:///ovirt-engine/api",
        "https://engine:99999/ovirt-engine/api",
        "https://[engine/api",
        "ftp://engine.example.com/ovirt-engine/api",
        CANARY,
    ],
)
def test_what_is_no_url_of_an_engine(folder, url):
    file = written(folder, f"engines: {{e: {{url: '{url}', username: a, password_file: password}}}}")
    assert "must" in complaints(file)["engines.e.url"]


@pytest.mark.parametrize(
    "text",
    [
        f"engines: {{e: {{pasword: {CANARY}}}}}",
        f"engines: {{e: {{password:{CANARY}}}}}",
        f"engines: {{e: {{password: [{CANARY}]}}}}",
        f"engines: {{e: {CANARY}}}",
        f"engines: [{CANARY}]",
        f"engines: {CANARY}",
        f"engines: {{e: {{connections: {CANARY}}}}}",
        f"engines: {{e: {{insecure: {CANARY}}}}}",
        f"engines: {{e: {{password: *{CANARY}}}}}",
        f"engines: {{e: {{password: !{CANARY} x}}}}",
        f"engines: {{e: {{password: %{CANARY}",
        f"engines: {{e: {{password: '{CANARY}",
        f"engines: {{e: {{password: &{CANARY}}}}}",
        f"password {CANARY}",
        f"password: {CANARY}: x",
        f"? [{CANARY}]\n: 1",
        f"timeouts: {{start: {CANARY}}}",
        f"listen: {{a: {CANARY}}}",
        f"\x00{CANARY}",
    ],
)
def test_no_complaint_shows_a_value(folder, text):
    assert complaints(written(folder, text))


def test_even_the_raw_error_of_the_parser_shows_no_value():
    with pytest.raises(ValidationError) as refused:
        Config.model_validate({"engines": {"e": {"pasword": CANARY, "connections": CANARY}}})
    assert CANARY not in str(refused.value)


def test_a_password_that_looks_like_a_number_is_explained(folder):
    file = written(folder, f"engines: {{e: {{url: '{URL}', username: a, password: 12345}}}}")
    assert "quotes" in complaints(file)["engines.e.password"]


def test_a_readable_file_with_a_password_is_refused(folder):
    text = f"engines: {{e: {{url: '{URL}', username: a, password: {CANARY}}}}}"
    file = written(folder, text, mode=0o644)
    with pytest.raises(ConfigError, match="mode 0644") as refused:
        load(file, {})
    assert f"chmod 600 {file}" in refused.value.what_to_do
    load(written(folder, text), {})


def test_unknown_and_foreign_engines(folder, environment):
    config = load(folder / "absent.yaml", environment)
    with pytest.raises(EngineProfileNotFound, match=r"'env1'; it has: env; did you mean 'env'\?"):
        config.engine("env1")
    own = fingerprint(URL, "admin@internal", PEM.encode())
    assert config.engine("", own)[0] == "env"
    with pytest.raises(EngineMismatch) as refused:
        config.engine("", "0" * 64)
    assert own in str(refused.value)
    assert "0" * 64 in str(refused.value)


def test_the_fingerprint_is_what_the_schema_says():
    ca = hashlib.sha256(b"ca").hexdigest()
    assert fingerprint("u", "n", b"ca") == hashlib.sha256(f"u\nn\n{ca}".encode()).hexdigest()
    assert fingerprint("u", "n", b"") == hashlib.sha256(b"u\nn\n").hexdigest()


def test_every_timeout_has_a_default_a_unit_and_a_description():
    for name, field in Timeouts.model_fields.items():
        assert field.default > 0, name
        assert field.description.startswith("Seconds. "), name


def test_a_lease_cannot_end_by_one_lost_renewal(folder, environment):
    file = written(folder, "timeouts: {renew_interval: 30, lease_grace: 45}")
    assert "twice" in complaints(file, environment)["timeouts.lease_grace"]


def test_a_config_for_tests_needs_no_file():
    assert Config().engines == {}


@pytest.mark.parametrize("listen", ["127.0.0.1:9464", "localhost:9464", "[::1]:9464", "unix:/m.sock"])
def test_metrics_are_exposed_to_this_machine(folder, environment, listen):
    config = load(written(folder, f"metrics: {{listen: '{listen}'}}"), environment)

    assert config.metrics is not None
    assert config.metrics.listen == listen
    assert load(folder / "absent.yaml", environment).metrics is None


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("0.0.0.0:9464", "no loopback address, and the metrics are served without TLS"),
        ("metrics.example.com:9464", "no loopback address"),
        ("[::]:9464", "no loopback address"),
        (":9464", "neither `unix:/path` nor `host:port`"),
        ("unix:metrics.sock", "not an absolute path"),
    ],
)
def test_metrics_are_not_exposed_to_others(folder, environment, listen, why):
    told = complaints(written(folder, f"metrics: {{listen: '{listen}'}}"), environment)

    assert why in told["metrics.listen"]


def with_tls(folder: Path, tls: str, owners: str = "ci: {}", top: str = "") -> Path:
    (folder / "cert.pem").write_text(PEM)
    (folder / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n")
    (folder / "key.pem").chmod(0o600)
    (folder / "tokens").write_text(f"ci sha256:{'0' * 64}\n")
    (folder / "tokens").chmod(0o600)
    engine = f"{{url: {URL}, username: a, password_file: password}}"
    text = f"engines: {{production: {engine}}}\nowners: {{{owners}}}\n{top}\ntls: {{{tls}}}\n"
    return written(folder, text)


TLS = "listen: 'localhost:7443', cert_file: cert.pem, key_file: key.pem"


def test_owners_and_tls(folder):
    file = with_tls(
        folder,
        f"{TLS}, token_file: tokens",
        "ci: {role: admin, engines: [production], clusters: [], templates: ['deb*'], max_machines: 3}",
    )
    config = load(file, {})
    assert config.tls is not None
    assert config.tls.cert_file == folder / "cert.pem"
    ci = config.limits("ci")
    assert (ci.is_admin, ci.max_machines) == (True, 3)
    assert (ci.may_use("templates", "debian"), ci.may_use("templates", "Debian")) == (True, False)
    assert not ci.may_use("clusters", "Default")


def test_who_is_not_named_may_do_nothing_but_on_the_unix_socket(folder):
    config = load(with_tls(folder, f"{TLS}, token_file: tokens", "ci: {}, 'uid:7': {max_machines: 0}"), {})
    assert config.limits("uid:1").is_admin
    assert config.limits("uid:1").max_machines is None
    assert (config.limits("uid:7").is_admin, config.limits("uid:7").max_machines) == (False, 0)
    nobody = config.limits("c")
    assert (nobody.is_admin, nobody.max_machines) == (False, 0)
    assert not nobody.may_use("engines", "production")


@pytest.mark.parametrize(
    ("tls", "owners", "field", "says"),
    [
        (f"{TLS}", "ci: {}", "tls.client_ca_file", "exactly one of client_ca_file and token_file"),
        (
            f"{TLS}, token_file: tokens, client_ca_file: cert.pem",
            "ci: {}",
            "tls.client_ca_file",
            "exactly one of client_ca_file and token_file",
        ),
        (f"{TLS}, token_file: tokens", "", "tls", "name those who may under `owners`"),
        (f"{TLS}, client_ca_file: cert.pem", "'uid:1': {}", "tls", "name those who may under `owners`"),
        (f"{TLS}, token_file: tokens", "cia: {}", "tls.token_file", "did you mean 'cia'?"),
        (f"{TLS}, tokenfile: tokens", "ci: {}", "tls.tokenfile", "did you mean 'token_file'?"),
        (f"{TLS}, token_file: none", "ci: {}", "tls.token_file", "none cannot be read: No such file"),
        (f"{TLS}, client_ca_file: key.pem", "ci: {}", "tls.client_ca_file", "holds no certificate"),
        (TLS.replace("key.pem", "cert.pem"), "ci: {}", "tls.key_file", "chmod 600"),
        (TLS.replace("key.pem", "password"), "ci: {}", "tls.key_file", "holds no private key"),
        (TLS.replace("localhost:7443", "7443"), "ci: {}", "tls.listen", "neither `unix:/path` nor"),
        (TLS.replace("localhost:7443", "unix:/s"), "ci: {}", "tls.listen", "`listen` at the top level"),
        (TLS, "ci: {engines: [prodution]}", "owners.ci.engines", "did you mean 'production'?"),
        (TLS, "ci: {rôle: admin}", "owners.ci.rôle", "did you mean 'role'?"),
        (TLS, "ci: {role: root}", "owners.ci.role", "must be 'user' or 'admin'"),
        (TLS, "ci: {max_machines: -1}", "owners.ci.max_machines", "greater than or equal to 0"),
        (TLS, "'c i': {}", "owners.c i", "pattern"),
    ],
)
def test_mistakes_in_owners_and_tls(folder, tls, owners, field, says):
    (folder / "password").chmod(0o600)
    told = complaints(with_tls(folder, tls, owners))
    assert says in told[field]


def test_an_address_for_tcp_does_not_go_into_listen(folder):
    told = complaints(with_tls(folder, f"{TLS}, token_file: tokens", top="listen: '127.0.0.1:7443'"))
    assert "belongs into `tls.listen`" in told["listen"]


@pytest.mark.parametrize(
    "line", [f"ci {CANARY}", f"ci sha256:{'0' * 63}", CANARY, f"uid:0 sha256:{'0' * 64}"]
)
def test_a_line_of_the_token_file_that_means_nothing_is_named_by_its_number(folder, line):
    file = with_tls(folder, f"{TLS}, token_file: tokens")
    with (folder / "tokens").open("a") as tokens:
        tokens.write(f"{line}\n")
    assert "tokens line 2: " in complaints(file)["tls.token_file"]


def test_secret_files_of_systemd_are_taken_as_they_are(folder, monkeypatch):
    file = with_tls(folder, f"{TLS}, token_file: tokens")
    for name in ("tokens", "key.pem"):
        (folder / name).chmod(0o440)
    assert set(complaints(file)) == {"tls.token_file", "tls.key_file"}
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert load(file, {}).tls is not None
