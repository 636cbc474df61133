"""What a client needs for TCP, told before anything is sent."""

import pytest

from ovirt_provision import paths
from ovirt_provision.cli.channel import CredentialUnreadable, PlainTcpRefused, open_channel

ADDRESS = paths.parse_address("127.0.0.1:7443", source="OVIRT_PROVISION_ADDRESS")
CERTIFICATE = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"


def variables(folder, *parts, content=CERTIFICATE):
    made = {f"OVIRT_PROVISION_{part}_FILE": folder / part for part in parts}
    for file in made.values():
        file.write_text(content)
    return {name: str(file) for name, file in made.items()}


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((), "OVIRT_PROVISION_CA_FILE is not set"),
        (("TOKEN",), "OVIRT_PROVISION_CA_FILE is not set"),
        (("CA",), "either OVIRT_PROVISION_CERT_FILE or OVIRT_PROVISION_TOKEN_FILE must be set"),
        (("CA", "CERT"), "OVIRT_PROVISION_CERT_FILE and OVIRT_PROVISION_KEY_FILE go together"),
        (("CA", "CERT", "KEY", "TOKEN"), "either OVIRT_PROVISION_CERT_FILE or OVIRT_PROVISION_TOKEN_FILE"),
    ],
)
def test_there_is_no_tcp_without_tls_not_even_on_loopback(tmp_path, parts, says):
    with pytest.raises(PlainTcpRefused) as refused:
        open_channel(ADDRESS, variables(tmp_path, *parts))
    assert f"OVIRT_PROVISION_ADDRESS is '127.0.0.1:7443', and TCP takes TLS: {says}" in str(refused.value)
    assert "ssh -L" in refused.value.what_to_do


@pytest.mark.parametrize(
    ("content", "parts", "says"),
    [
        ("x", ("CA", "TOKEN"), "OVIRT_PROVISION_CA_FILE: .* holds no certificate in PEM format"),
        (
            CERTIFICATE,
            ("CA", "CERT", "KEY"),
            "OVIRT_PROVISION_KEY_FILE: .* holds no private key in PEM format",
        ),
        ("\n", ("TOKEN", "CA"), "holds no"),
    ],
)
def test_a_file_that_cannot_be_meant_is_named(tmp_path, content, parts, says):
    with pytest.raises(CredentialUnreadable, match=says):
        open_channel(ADDRESS, variables(tmp_path, *parts, content=content))


def test_a_file_that_is_not_there_is_named(tmp_path):
    given = variables(tmp_path, "CA") | {"OVIRT_PROVISION_TOKEN_FILE": str(tmp_path / "absent")}
    with pytest.raises(CredentialUnreadable, match=r"OVIRT_PROVISION_TOKEN_FILE: .*absent cannot be read"):
        open_channel(ADDRESS, given)
