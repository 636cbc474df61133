"""Answer files for Windows, whose placeholders the engine fills in from the typed fields of a sysprep.

Source: `SysprepHandler` of the engine. It replaces text by text, knows nothing of XML, and takes the product
key from its own configuration of the operating system alone.
"""

from typing import Any
from xml.parsers import expat

from ovirt_provision.errors import Violation
from ovirt_provision.v1 import resources_pb2

LONGEST_NAME = 15
"""Letters of a computer's name: the engine cuts off what is longer."""
_NAMESPACE = "urn:schemas-microsoft-com:unattend"
_KEY = "$ProductKey$"
# Placeholders by the field that fills them.
_PLACEHOLDERS = {
    "host_name": ("$ComputerName$",),
    "time_zone": ("$TimeZone$",),
    "sysprep.admin_password": ("$AdminPassword$",),
    "sysprep.organization": ("$OrgName$",),
    "sysprep.domain": ("$JoinDomain$",),
    "sysprep.input_locale": ("$InputLocale$",),
    "sysprep.ui_language": ("$UILanguage$", "$SetupUiLanguageUiLanguage$"),
    "sysprep.system_locale": ("$SystemLocale$",),
    "sysprep.user_locale": ("$UserLocale$",),
    "sysprep.product_key": (_KEY,),
}


class _NotAnswerFile(Exception):
    """It is XML, but no answer file."""


def complete(
    initialization: resources_pb2.Initialization, field: str, wrong: list[Violation], *, vm_name: str = ""
) -> str:
    """The answer file of a sysprep, at `field` in the request, with the product key in it; empty for the
    engine's own.

    Adds to `wrong` what is wrong; no value of the file is in that. `vm_name` is what the engine names the
    computer after when there is no host name, if it is known.
    """
    name, name_field = initialization.host_name, f"{field}.host_name"
    xml = initialization.sysprep.unattend_xml
    takes_name = not xml or any(placeholder in xml for placeholder in _PLACEHOLDERS["host_name"])
    if takes_name and not name and len(vm_name) > LONGEST_NAME:
        wrong.append(
            Violation(
                name_field,
                f"is needed: the name of the VM, '{vm_name}', is longer than the {LONGEST_NAME} letters that "
                "Windows takes",
            )
        )
    if name.isdigit():
        wrong.append(Violation(name_field, "must not be a number: Windows takes none as a computer's name"))
    given = {name: value for name in _PLACEHOLDERS if (value := _value(initialization, name))}
    if not xml:
        if "sysprep.product_key" in given:
            wrong.append(
                Violation(
                    f"{field}.sysprep.product_key",
                    f"takes an answer file of yours with {_KEY} in it: the engine's own takes its key from "
                    "the engine's configuration alone",
                )
            )
        if "]]>" in initialization.sysprep.admin_password:
            wrong.append(
                Violation(f"{field}.sysprep.admin_password", "must not hold ]]>, which ends its place in XML")
            )
        return ""
    path = f"{field}.sysprep.unattend_xml"
    if not _check(xml, path, wrong):
        return ""
    for name in given:
        if not any(placeholder in xml for placeholder in _PLACEHOLDERS[name]):
            wrong.append(
                Violation(
                    f"{field}.{name}", f"has no effect: the answer file has no {_PLACEHOLDERS[name][0]} in it"
                )
            )
    # As the engine will, so that a value which is no text in XML is found out now.
    filled = xml
    for name, value in given.items():
        for placeholder in _PLACEHOLDERS[name]:
            filled = filled.replace(placeholder, value)
    if not _is_xml(filled):
        wrong.append(
            Violation(
                path,
                "is no XML any more once its placeholders are filled in: put them into <![CDATA[...]]>, as "
                "the engine's own answer files do",
            )
        )
    return xml.replace(_KEY, initialization.sysprep.product_key) if "sysprep.product_key" in given else xml


def _value(initialization: resources_pb2.Initialization, path: str) -> str:
    message: Any = initialization
    for name in path.split("."):
        message = getattr(message, name)
    return str(message)


def _check(xml: str, field: str, wrong: list[Violation]) -> bool:
    try:
        _parse(xml)
    except expat.ExpatError as error:
        wrong.append(
            Violation(
                field,
                f"is not XML: line {error.lineno}, column {error.offset + 1}: "
                f"{expat.ErrorString(error.code)}",
            )
        )
    except _NotAnswerFile as error:
        wrong.append(Violation(field, str(error)))
    else:
        return True
    return False


def _is_xml(text: str) -> bool:
    try:
        _parse(text)
    except (expat.ExpatError, _NotAnswerFile):
        return False
    return True


def _parse(xml: str) -> None:
    """Raises ExpatError, and _NotAnswerFile for XML of another kind."""
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    root: list[str] = []

    def begin(name: str, _attributes: object) -> None:
        if not root and name != f"{_NAMESPACE} unattend":
            raise _NotAnswerFile(f"must be an <unattend> of the namespace {_NAMESPACE}")
        root.append(name)

    def refuse(*_: object) -> None:
        raise _NotAnswerFile("must not have a document type, in which entities are defined")

    parser.StartElementHandler = begin
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(xml.encode(), True)
