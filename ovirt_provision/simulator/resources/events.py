"""`/events`, the engine's audit log."""

from dataclasses import replace

from ovirt_provision.simulator import faults
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    collection,
    complete,
    created,
    reference,
)
from ovirt_provision.simulator.entities import Event
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.search import Field, Fields, Kind

routes = Routes()

_PATHS = {
    "cluster": "/clusters",
    "data_center": "/datacenters",
    "host": "/hosts",
    "storage_domain": "/storagedomains",
    "template": "/templates",
    "user": "/users",
    "vm": "/vms",
}
_SEVERITIES = ("normal", "warning", "error", "alert")


def _ref(name: str, part: int) -> Field:
    return Field(lambda event: event.refs.get(name, (None, None))[part], free_text=part == 1)


# What a search may ask of an event, as `event_vm`, and what it refers to.
_EVENT_REFS = {
    "host": "host",
    "vm": "vm",
    "template": "template",
    "storage": "storage_domain",
    "datacenter": "data_center",
}

FIELDS: Fields = {
    "type": Field(lambda event: event.code, Kind.NUMBER),
    "severity": Field(lambda event: event.severity, Kind.STATUS, values=frozenset(_SEVERITIES)),
    "message": Field(lambda event: event.description, free_text=True),
    "time": Field(lambda event: event.time, Kind.TIME),
    "usrname": _ref("user", 1),
    "correlation_id": Field(lambda event: event.correlation_id),
    "origin": Field(lambda event: event.origin),
    "custom_event_id": Field(lambda event: event.custom_id, Kind.NUMBER),
    **{f"event_{short}": _ref(name, 1) for short, name in _EVENT_REFS.items()},
    **{f"event_{short}_id": _ref(name, 0) for short, name in _EVENT_REFS.items()},
    "vm.name": _ref("vm", 1),
    "vm.id": _ref("vm", 0),
    "template.name": _ref("template", 1),
    "template.id": _ref("template", 0),
    "host.name": _ref("host", 1),
    "host.id": _ref("host", 0),
    "storage.name": _ref("storage_domain", 1),
    "cluster.name": _ref("cluster", 1),
    "user.name": _ref("user", 1),
}


def render_event(event: Event) -> Element:
    return node(
        "event",
        None,
        node("description", event.description),
        node("code", event.code),
        node("correlation_id", event.correlation_id) if event.correlation_id is not None else None,
        node("custom_id", event.custom_id),
        node("flood_rate", event.flood_rate),
        node("index", event.id),
        node("origin", event.origin),
        node("severity", event.severity),
        node("time", event.time),
        *(_render_ref(name, *ref) for name, ref in event.refs.items()),
        href=f"{BASE}/events/{event.id}",
        id=str(event.id),
    )


def _render_ref(name: str, entity_id: str | None, entity_name: str) -> Element:
    element = reference(name, _PATHS[name], entity_id) if entity_id is not None else node(name)
    element.append(node("name", entity_name))
    return element


@routes.add("GET", "/events")
def list_events(request: Request) -> Reply:
    now = request.world.monotonic
    rows = [one for one in reversed(request.world.events) if not one.deleted and one.visible_at <= now]
    if request.view is not None:
        rows = [event for event in rows if request.view.shows_event(event)]
        if "search" not in request.query:
            # As `BackendEventsResource` does: neither `from` nor `max` counts.
            return collection(replace(request, query={}), "events", rows, render_event, FIELDS)
    start = request.query.get("from", "")
    if start.isdigit():
        rows = [event for event in rows if event.id > int(start)]
    return collection(request, "events", rows, render_event, FIELDS)


@routes.add("POST", "/events")
def add_event(request: Request) -> Reply:
    body = request.body("event", "add")
    severity = find_text(body, "severity") or ""
    code = 9801 + _SEVERITIES.index(severity)
    event = request.world.add_event(code, severity, find_text(body, "description") or "", None, {})
    event.origin = find_text(body, "origin") or ""
    event.custom_id = request.number(body, "custom_id", "add") or -1
    event.flood_rate = request.number(body, "flood_rate", "add") or 30
    return created(render_event(event))


@routes.add("GET", "/events/{event}")
def show_event(request: Request, event: str) -> Reply:
    return Reply(200, render_event(_find(request, event)))


@routes.add("DELETE", "/events/{event}")
def remove_event(request: Request, event: str) -> Reply:
    _find(request, event).deleted = True
    return complete()


def _find(request: Request, event: str) -> Event:
    found = next((one for one in request.world.events if str(one.id) == event), None)
    if found is None:
        raise faults.not_found()
    return found
