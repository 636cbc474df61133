"""`ovirt-provision template`."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from ovirt_provision.cli import options, output
from ovirt_provision.cli.client import Daemon
from ovirt_provision.cli.options import (
    DescriptionOption,
    DryRunOption,
    EngineOption,
    GrantGroupOption,
    GrantOption,
    NoWaitOption,
    OutputOption,
    RegexOption,
    RequestIdOption,
)
from ovirt_provision.cli.output import Format
from ovirt_provision.cli.verbs import run_verb
from ovirt_provision.errors import Code, ProvisionError, did_you_mean
from ovirt_provision.v1 import resources_pb2, templates_pb2

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Make, list and destroy templates.")

TemplateArgument = Annotated[
    str,
    typer.Argument(metavar="TEMPLATE", help="NAME, NAME:VERSION or the id of a version.", show_default=False),
]


class DiskFormat(StrEnum):
    COW = "cow"
    RAW = "raw"


class BootTest(StrEnum):
    SSH = "ssh"
    ADDRESS = "address"


FORMATS = {
    DiskFormat.COW: resources_pb2.DISK_FORMAT_COW,
    DiskFormat.RAW: resources_pb2.DISK_FORMAT_RAW,
}


class NoSuchTemplate(ProvisionError):
    """No template of the engine has this name and version."""

    code = Code.NOT_FOUND
    reason = "TEMPLATE_NOT_FOUND"
    message = "the engine has no template '{given}'{near}"
    advice = "See `ovirt-provision template list`."


class TemplateAmbiguous(ProvisionError):
    """A name without a version where there are several."""

    code = Code.INVALID_ARGUMENT
    reason = "TEMPLATE_AMBIGUOUS"
    message = "template '{name}' has the versions {versions}; name one, such as {name}:{newest}"


@app.command(
    epilog="""Examples, after `machine stop web`:

    ovirt-provision template create web golden-web

    ovirt-provision template create web golden-web --replace --boot-test ssh --tag production

    ovirt-provision template create web golden-web --new-version --version-name spring --keep-versions 3"""
)
def create(
    machine: Annotated[
        str, typer.Argument(metavar="KEY", help="Key of the Machine to make it from; it must be down.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the template.")],
    description: DescriptionOption = "",
    seal: Annotated[
        bool,
        typer.Option(help="Remove what clones must not share, such as host keys and machine-id. Linux only."),
    ] = True,
    new_version: Annotated[
        bool,
        typer.Option(
            "--new-version", help="Add a version to the template of that name instead of making a new one."
        ),
    ] = False,
    version_name: Annotated[
        str, typer.Option(metavar="TEXT", help="Name of the version, with --new-version.")
    ] = "",
    keep_versions: Annotated[
        int,
        typer.Option(
            metavar="NUMBER",
            min=0,
            help="With --new-version: how many versions stay. Older ones that you may destroy and that no VM "
            "uses are removed.",
        ),
    ] = 0,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace the template of that name, once the new one is whole."),
    ] = False,
    tag: Annotated[list[str], typer.Option(metavar="TAG", help="Tag of the engine. Repeatable.")] = [],  # noqa: B006
    grant: GrantOption = [],  # noqa: B006
    grant_group: GrantGroupOption = [],  # noqa: B006
    storage_domain: Annotated[
        str, typer.Option(metavar="NAME", help="Where its disks go. Default: where those of the Machine are.")
    ] = "",
    disk_format: Annotated[
        DiskFormat | None, typer.Option(help="Format of its disks. Default: as those of the Machine.")
    ] = None,
    sparsify: Annotated[
        bool,
        typer.Option(
            "--sparsify",
            help="Give back to the storage what its disks take and do not use. They have to be RAW: see "
            "--disk-format.",
        ),
    ] = False,
    boot_test: Annotated[
        BootTest | None,
        typer.Option(
            help="Make a throw-away Machine from it: it has to boot, and to answer the daemon by SSH or to "
            "report an address."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only check all that it refers to; the Machine is not looked at."),
    ] = False,
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Make a template from a Machine that is down. The Machine stays, and so does the template."""
    for given, option in ((version_name, "--version-name"), (keep_versions, "--keep-versions")):
        if given and not new_version:
            raise typer.BadParameter("only with --new-version", param_hint=option)
    if replace and new_version:
        raise typer.BadParameter("not with --new-version, which replaces none", param_hint="--replace")
    daemon = Daemon(engine)
    request = templates_pb2.CreateTemplateRequest(
        engine=daemon.engine,
        request_id=request_id,
        machine_key=machine,
        name=name,
        description=description,
        seal=seal,
        new_version=new_version,
        version_name=version_name,
        keep_versions=keep_versions,
        replace=replace,
        tags=tag,
        permissions=options.permissions(grant, grant_group),
        storage_domain=storage_domain,
        disk_format=FORMATS[disk_format] if disk_format else resources_pb2.DISK_FORMAT_UNSPECIFIED,
        sparsify=sparsify,
        validate_only=dry_run,
    )
    if boot_test is not None:
        request.boot_test.address_only = boot_test is BootTest.ADDRESS
        request.boot_test.initialization.host_name = "boot-test"
    if dry_run:
        daemon.call(daemon.templates.CreateTemplate, request)
        output.note(f"Template {name} can be made.")
        return
    run_verb(output_format, daemon, daemon.templates.CreateTemplate, request, wait=not no_wait)


@app.command("list")
def list_templates(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only templates of this name.")] = "",
    regex: RegexOption = "",
    tag: Annotated[list[str], typer.Option(metavar="TAG", help="Only those with this tag. Repeatable.")] = [],  # noqa: B006
    latest: Annotated[
        bool, typer.Option("--latest", help="Of each only the newest version that is ok.")
    ] = False,
    engine: EngineOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """List the engine's templates: ours and others."""
    listed = _list(Daemon(engine), name, name_regex=regex, tags=tag, latest=latest)
    output.emit(listed, output_format, output.print_templates)


@app.command(
    epilog="""Examples:

    ovirt-provision template find golden-web --latest

    ovirt-provision template find --regex '^golden-' --tag production --latest --output json"""
)
def find(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Its name.")] = "",
    regex: RegexOption = "",
    tag: Annotated[list[str], typer.Option(metavar="TAG", help="A tag that it has. Repeatable.")] = [],  # noqa: B006
    version: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="Its version. Default: any.")] = 0,
    latest: Annotated[
        bool, typer.Option("--latest", help="Of several that match the one that was made last and is ok.")
    ] = False,
    ours: Annotated[bool, typer.Option("--ours", help="Only what this installation made.")] = False,
    engine: EngineOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Show the one template version that is described; none, or several, is an error."""
    if name and regex:
        raise typer.BadParameter("not with NAME", param_hint="--regex")
    daemon = Daemon(engine)
    request = templates_pb2.FindTemplateRequest(
        engine=daemon.engine,
        name=name,
        name_regex=regex,
        tags=tag,
        version=version,
        latest=latest,
        ours=ours,
    )
    found = daemon.call(daemon.templates.FindTemplate, request).template
    output.emit(found, output_format, output.print_template)


@app.command()
def get(
    template: TemplateArgument, engine: EngineOption = "", output_format: OutputOption = Format.TABLE
) -> None:
    """Show a template."""
    daemon = Daemon(engine)
    found = daemon.call(
        daemon.templates.GetTemplate,
        templates_pb2.GetTemplateRequest(engine=daemon.engine, id=_resolve(daemon, template)),
    ).template
    output.emit(found, output_format, output.print_template)


@app.command()
def destroy(
    template: TemplateArgument,
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Remove a template that the bridge made. Destroying an id that is gone succeeds."""
    daemon = Daemon(engine)
    request = templates_pb2.DestroyTemplateRequest(
        engine=daemon.engine, request_id=request_id, id=_resolve(daemon, template)
    )
    run_verb(
        output_format,
        daemon,
        daemon.templates.DestroyTemplate,
        request,
        wait=not no_wait,
        show_result=lambda _: output.note(f"Template {template} is gone."),
    )


@app.command(
    epilog="""Examples:

    ovirt-provision template export golden-web --ova host1:/var/tmp

    ovirt-provision template export golden-web:3 --ova host1:/var/tmp/golden-web-3.ova

    ovirt-provision template export golden-web --export-domain shelf --replace"""
)
def export(
    template: TemplateArgument,
    ova: Annotated[
        str,
        typer.Option(
            metavar="HOST:/DIRECTORY[/FILE.ova]",
            help="Have this host write it to an OVA file in a folder of its own. Default of FILE: its name.",
        ),
    ] = "",
    export_domain: Annotated[
        str, typer.Option(metavar="NAME", help="Copy it to this storage domain, which is one of type export.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="With --export-domain: replace the copy that is there.")
    ] = False,
    dry_run: DryRunOption = False,
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Have the engine write a template to an OVA file or an export domain. Nothing of it is ever removed:
    the engine ends what it has begun, also when this is cancelled."""
    if bool(ova) == bool(export_domain):
        raise typer.BadParameter("give either --ova or --export-domain", param_hint="--ova")
    if replace and not export_domain:
        raise typer.BadParameter("only with --export-domain", param_hint="--replace")
    daemon = Daemon(engine)
    request = templates_pb2.ExportTemplateRequest(
        engine=daemon.engine,
        request_id=request_id,
        template=options.template_reference(template),
        validate_only=dry_run,
    )
    if ova:
        request.ova.CopyFrom(_ova(ova))
    else:
        request.export_domain.storage_domain, request.export_domain.replace = export_domain, replace
    if dry_run:
        daemon.call(daemon.templates.ExportTemplate, request)
        output.note(f"Template {template} can be exported to {ova or export_domain}.")
        return
    run_verb(
        output_format,
        daemon,
        daemon.templates.ExportTemplate,
        request,
        wait=not no_wait,
        show_result=lambda _: output.note(f"Template {template} is exported to {ova or export_domain}."),
    )


def _ova(given: str) -> templates_pb2.ExportTemplateRequest.Ova:
    """The file that `host1:/var/tmp` or `host1:/var/tmp/golden.ova` means."""
    host, _, path = given.partition(":")
    if not host or not path.startswith("/"):
        raise typer.BadParameter(
            f"'{given}' is not HOST:/DIRECTORY or HOST:/DIRECTORY/FILE.ova, such as host1:/var/tmp",
            param_hint="--ova",
        )
    directory, _, file_name = path.rpartition("/") if path.endswith(".ova") else (path, "", "")
    return templates_pb2.ExportTemplateRequest.Ova(host=host, directory=directory or "/", file_name=file_name)


def _list(daemon: Daemon, name: str, **filters: Any) -> templates_pb2.ListTemplatesResponse:
    request = templates_pb2.ListTemplatesRequest(engine=daemon.engine, name=name, **filters)
    return daemon.list_all(daemon.templates.ListTemplates, request)


def _resolve(daemon: Daemon, given: str) -> str:
    template_id = options.as_uuid(given)
    if template_id:
        return template_id
    name, version = options.template(given)
    versions: dict[int, resources_pb2.Template] = {t.version: t for t in _list(daemon, name).templates}
    if len(versions) > 1 and not version:
        listing = ", ".join(str(number) for number in sorted(versions))
        raise TemplateAmbiguous(name=name, versions=listing, newest=max(versions))
    found = versions.get(version or next(iter(versions), 0))
    if not found:
        known = {t.name for t in _list(daemon, "").templates}
        raise NoSuchTemplate(given=given, near="" if versions else did_you_mean(name, known))
    return found.id
