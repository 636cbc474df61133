"""`ovirt-provision template`."""

from typing import Annotated

import typer

from ovirt_provision.cli import options, output
from ovirt_provision.cli.client import Daemon
from ovirt_provision.cli.options import EngineOption, NoWaitOption, OutputOption, RequestIdOption
from ovirt_provision.cli.output import Format
from ovirt_provision.cli.verbs import run_verb
from ovirt_provision.errors import Code, ProvisionError, did_you_mean
from ovirt_provision.v1 import resources_pb2, templates_pb2

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Make, list and destroy templates.")

TemplateArgument = Annotated[
    str,
    typer.Argument(metavar="TEMPLATE", help="NAME, NAME:VERSION or the id of a version.", show_default=False),
]


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

    ovirt-provision template create web golden-web --new-version --version-name spring"""
)
def create(
    machine: Annotated[
        str, typer.Argument(metavar="KEY", help="Key of the Machine to make it from; it must be down.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the template.")],
    description: Annotated[str, typer.Option(metavar="TEXT", help="Description in the engine.")] = "",
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
    engine: EngineOption = "",
    request_id: RequestIdOption = "",
    no_wait: NoWaitOption = False,
    output_format: OutputOption = Format.TABLE,
) -> None:
    """Make a template from a Machine that is down. The Machine stays, and so does the template."""
    if version_name and not new_version:
        raise typer.BadParameter("only with --new-version", param_hint="--version-name")
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
    )
    run_verb(output_format, daemon, daemon.templates.CreateTemplate, request, wait=not no_wait)


@app.command("list")
def list_templates(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only templates of this name.")] = "",
    engine: EngineOption = "",
    output_format: OutputOption = Format.TABLE,
) -> None:
    """List the engine's templates: ours and others."""
    listed = _list(Daemon(engine), name)
    output.emit(listed, output_format, output.print_templates)


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


def _list(daemon: Daemon, name: str) -> templates_pb2.ListTemplatesResponse:
    request = templates_pb2.ListTemplatesRequest(engine=daemon.engine, name=name)
    listed = templates_pb2.ListTemplatesResponse()
    while True:
        page = daemon.call(daemon.templates.ListTemplates, request)
        listed.templates.extend(page.templates)
        if not page.next_page_token:
            return listed
        request.page_token = page.next_page_token


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
