"""`/jobs` and their steps."""

from ovirt_provision.simulator import faults
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    actions,
    collection,
    created,
    find_or_404,
    links,
    perform,
    reference,
)
from ovirt_provision.simulator.entities import Job, Step, new_id
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node, reference_of
from ovirt_provision.simulator.search import Field, Fields
from ovirt_provision.simulator.world import World

routes = Routes()

FIELDS: Fields = {"correlation_id": Field(lambda job: job.correlation_id)}


def render_job(world: World, job: Job) -> Element:
    path = f"/jobs/{job.id}"
    return node(
        "job",
        None,
        actions(path, ["clear", "end"]),
        node("description", job.description),
        *links(path, ["steps"]),
        node("auto_cleared", job.auto_cleared),
        node("end_time", job.ended) if job.ended is not None else None,
        node("external", job.external),
        node("last_updated", job.updated),
        node("start_time", job.started),
        node("status", job.status),
        reference("owner", "/users", world.user_id),
        href=BASE + path,
        id=job.id,
    )


def render_step(job: Job, step: Step) -> Element:
    path = f"/jobs/{job.id}/steps/{step.id}"
    return node(
        "step",
        None,
        actions(path, ["end"]),
        node("description", step.description),
        *links(path, ["statistics"]),
        node("end_time", step.ended) if step.ended is not None else None,
        node("external", job.external),
        node("external_type", "vdsm") if step.on_host else None,
        node("number", step.number),
        node("start_time", step.started),
        node("status", step.status),
        node("type", step.type),
        reference("job", "/jobs", job.id),
        reference("parent_step", f"/jobs/{job.id}/steps", step.parent.id)
        if step.parent is not None
        else None,
        href=BASE + path,
        id=step.id,
    )


@routes.add("GET", "/jobs")
def list_jobs(request: Request) -> Reply:
    world = request.world
    world.forget_jobs()
    return collection(request, "jobs", list(world.jobs.values()), lambda job: render_job(world, job), FIELDS)


@routes.add("POST", "/jobs")
def add_job(request: Request) -> Reply:
    world = request.world
    body = request.body("job", "add")
    description = find_text(body, "description") or ""
    job = world.start_job(description, request.correlation_id)
    job.steps.clear()
    job.external = True
    job.auto_cleared = find_bool(body, "auto_cleared", True)
    return created(render_job(world, job))


@routes.add("GET", "/jobs/{job}")
def show_job(request: Request, job: str) -> Reply:
    request.world.forget_jobs()
    return Reply(200, render_job(request.world, find_or_404(request.world.jobs, job)))


@routes.add("GET", "/jobs/{job}/steps")
def list_steps(request: Request, job: str) -> Reply:
    found: Job | None = request.world.jobs.get(job)
    if found is None:
        return Reply(200, node("steps"))
    return collection(request, "steps", found.steps, lambda step: render_step(found, step))


@routes.add("GET", "/jobs/{job}/steps/{step}")
def show_step(request: Request, job: str, step: str) -> Reply:
    found: Job = find_or_404(request.world.jobs, job)
    return Reply(200, render_step(found, find_or_404({one.id: one for one in found.steps}, step)))


def _insist_on_external(job: Job, action: str) -> None:
    """Jobs of the engine's own are nobody's to change."""
    if not job.external:
        raise faults.engine_fault("job not external", action=action)


@routes.add("POST", "/jobs/{job}/steps")
def add_step(request: Request, job: str) -> Reply:
    found: Job = find_or_404(request.world.jobs, job)
    body = request.body("step", "add")
    _insist_on_external(found, "Add")
    parents = {one.id: one for one in found.steps}
    parent = parents.get(reference_of(body, "parent_step"))
    number = sum(1 for one in found.steps if one.parent is parent)
    kind, description = find_text(body, "type") or "", find_text(body, "description") or ""
    step = Step(new_id(), description, kind, number, request.world.now, parent=parent)
    found.steps.append(step)
    return created(render_step(found, step))


@routes.add("POST", "/jobs/{job}/steps/{step}/end")
def end_step(request: Request, job: str, step: str) -> Reply:
    found: Job = find_or_404(request.world.jobs, job)
    one: Step = find_or_404({each.id: each for each in found.steps}, step)

    def end(body: Element) -> list[Element]:
        _insist_on_external(found, "Clear")
        request.world.end_step(found, one, ok=find_bool(body, "succeeded", True), finalizes=False)
        return []

    return perform(request, "end", end)


@routes.add("POST", "/jobs/{job}/clear")
def clear_job(request: Request, job: str) -> Reply:
    found: Job = find_or_404(request.world.jobs, job)

    def clear(_body: Element) -> list[Element]:
        _insist_on_external(found, "Clear")
        del request.world.jobs[job]
        return []

    return perform(request, "clear", clear)


@routes.add("POST", "/jobs/{job}/end")
def end_job(request: Request, job: str) -> Reply:
    found: Job = find_or_404(request.world.jobs, job)

    def end(body: Element) -> list[Element]:
        _insist_on_external(found, "Clear")  # as recorded
        request.world.end_job(found, ok=find_bool(body, "succeeded", True))
        return []

    return perform(request, "end", end)
