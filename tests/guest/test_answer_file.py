"""Sysprep: answer files and the fields that fill them."""

import pytest

from ovirt_provision.guest.first_boot import first_boot, violations_of
from ovirt_provision.v1 import resources_pb2

CANARY = "canary-5d1c7a90"


def unattend(*inside: str) -> str:
    text = "".join(f"<x>{part}</x>" for part in inside)
    return f'<unattend xmlns="urn:schemas-microsoft-com:unattend">{text}</unattend>'


def wrong(os_type: str = "windows_2022", vm_name: str = "web", host_name: str = "", time_zone="", **sysprep):
    given = resources_pb2.Initialization(
        sysprep=resources_pb2.Sysprep(**sysprep), host_name=host_name, time_zone=time_zone
    )
    return violations_of(given, "start_with", vm_name=vm_name, os_type=os_type)


def told(xml: str, product_key: str):
    sysprep = resources_pb2.Sysprep(unattend_xml=xml, product_key=product_key)
    return first_boot(resources_pb2.Initialization(sysprep=sysprep)).custom_script


def test_the_typed_fields_are_told_as_the_engine_has_them():
    sysprep = resources_pb2.Sysprep(
        admin_password="p",
        organization="o",
        domain="d",
        input_locale="de-DE",
        ui_language="en-US",
        system_locale="fr-FR",
        user_locale="it-IT",
    )
    given = resources_pb2.Initialization(
        sysprep=sysprep, host_name="web", time_zone="W. Europe Standard Time"
    )
    assert violations_of(given, "start_with", vm_name="x", os_type="windows_2022") == []
    first = first_boot(given)
    engine = first.initialization()
    assert first.kind == "sysprep"
    assert (engine.root_password, engine.org_name, engine.domain) == ("p", "o", "d")
    assert (engine.host_name, engine.timezone) == ("web", "W. Europe Standard Time")
    assert (engine.input_locale, engine.ui_language) == ("de-DE", "en-US")
    assert (engine.system_locale, engine.user_locale) == ("fr-FR", "it-IT")
    assert engine.custom_script is None, "the engine has an answer file for each Windows"


def test_the_product_key_is_put_into_an_answer_file_since_the_engine_does_not():
    assert "<x>AAAAA-BBBBB</x>" in told(unattend("$ProductKey$"), "AAAAA-BBBBB")
    assert "$ProductKey$" in told(unattend("$ProductKey$"), ""), "then the engine has one, or nobody"
    (violation,) = wrong(product_key="AAAAA-BBBBB")
    assert violation.field == "start_with.sysprep.product_key"


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        (f"{unattend()}\n<{CANARY}", "line 2, column 1"),
        (f"<unattend>{CANARY}</unattend>", "namespace"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + unattend(), "document type"),
        ("not XML", "line 1"),
    ],
)
def test_what_is_no_answer_file_is_refused_without_telling_it(xml, said):
    (violation,) = wrong(unattend_xml=xml)
    assert violation.field == "start_with.sysprep.unattend_xml"
    assert said in violation.description
    assert CANARY not in violation.description


def test_a_field_without_a_place_in_the_answer_file_is_refused():
    found = wrong(unattend_xml=unattend("$AdminPassword$"), admin_password="p", host_name="web", domain="d")
    assert {violation.field for violation in found} == {"start_with.host_name", "start_with.sysprep.domain"}


def test_a_value_that_breaks_the_answer_file_is_found_before_the_guest_finds_it():
    (violation,) = wrong(unattend_xml=unattend("$AdminPassword$"), admin_password="a<b")
    assert "CDATA" in violation.description
    assert wrong(unattend_xml=unattend("<![CDATA[$AdminPassword$]]>"), admin_password="a<b") == []
    (violation,) = wrong(admin_password=f"{CANARY}]]>")
    assert violation.field == "start_with.sysprep.admin_password"
    assert CANARY not in violation.description


def test_a_name_that_windows_does_not_take_is_refused_and_not_cut_off():
    (violation,) = wrong(vm_name="a-name-of-17-long")
    assert violation.field == "start_with.host_name"
    assert wrong(vm_name="a-name-of-17-long", host_name="short") == []
    (violation,) = wrong(host_name="12345")
    assert violation.field == "start_with.host_name"


def test_the_length_of_a_name_that_the_answer_file_does_not_use_is_nobodys_business():
    """It takes no host name either, so that there would be no way out."""
    assert wrong(vm_name="a-name-of-17-long", unattend_xml=unattend("own-name")) == []
    (violation,) = wrong(vm_name="a-name-of-17-long", unattend_xml=unattend("$ComputerName$"))
    assert violation.field == "start_with.host_name"


def test_each_operating_system_gets_its_own_kind_or_is_refused():
    (violation,) = wrong(os_type="debian_9")
    assert violation.field == "start_with.sysprep"
    linux = resources_pb2.Initialization(user_name="builder")
    (violation,) = violations_of(linux, "start_with", vm_name="web", os_type="windows_2022")
    assert violation.field == "start_with"
    nothing = resources_pb2.Initialization()
    assert violations_of(nothing, "start_with", vm_name="web", os_type="windows_2022") == []
