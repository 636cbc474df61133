"""Requests, replies and routes of the REST API, without HTTP."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from lxml import etree

from ovirt_provision.simulator import faults, markup, permits, surface
from ovirt_provision.simulator.entities import User, is_uuid
from ovirt_provision.simulator.faults import Fault, Refusal
from ovirt_provision.simulator.markup import Element, node
from ovirt_provision.simulator.model import TYPES
from ovirt_provision.simulator.search import Fields, search
from ovirt_provision.simulator.surface import Operation, Paths
from ovirt_provision.simulator.world import World

BASE = "/ovirt-engine/api"


@dataclass
class Request:
    """One call. `path` is below the API's base; `query` also holds the matrix parameters.

    `user` asks, or without one the administrator. `as_xml` is whether the reply is sent as XML just as it is.
    """

    world: World
    host: str
    method: str
    path: str
    query: Mapping[str, str]
    content: bytes
    is_json: bool
    correlation_id: str
    held: list[tuple[str, str]] = field(default_factory=list)
    accept: str = ""
    user: User | None = None
    as_xml: bool = False
    _body: Element | None = None

    @functools.cached_property
    def view(self) -> permits.View | None:
        """What is shown to who asks for the filtered view, or is no administrator; None is everything."""
        user = self.user
        if self.flag("filter") or (user is not None and not self.world.is_administrator(user)):
            return permits.View(self.world, user or self.world.admin)
        return None

    def inner(self, method: str, path: str, body: Element | None = None) -> "Request":
        """A request that this one makes on its way, with its locks and correlation id."""
        return Request(
            self.world,
            self.host,
            method,
            path,
            {},
            b"",
            False,
            self.correlation_id,
            self.held,
            user=self.user,
            _body=body,
        )

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.query.get(name)
        return default if value is None else value.strip().lower() != "false"

    def body(self, root: str, method: str) -> Element:
        """The request's element `root`; raises the engine's fault when it is not one.

        `method` is the name of the operation in the API model, such as `add`.
        """
        if self._body is not None:
            return self._body
        service = self.path.strip("/").split("/")[0]
        broken = faults.bad_syntax(self.host, service, method)
        try:
            element = markup.parse_json(self.content, root) if self.is_json else markup.parse(self.content)
            if element.tag != root:
                raise broken
            markup.check(element, root)
        except markup.UnknownValue as error:
            raise faults.bad_value(error.text, error.name, error.values) from None
        except ValueError:
            if self.is_json and not self.content.strip():
                raise faults.server_error("java.lang.NullPointerException") from None
            raise broken from None
        self._body = element
        return element

    def hold(self, kind: str, key: str, action: str) -> None:
        """Takes the lock that the engine holds while it handles a command; refused while another command has
        it.
        """
        lock = (kind, key)
        if lock in self.world.locks:
            raise faults.engine_fault("object locked", action=action)
        self.world.locks.add(lock)
        self.held.append(lock)

    def keep(self, kind: str, key: str) -> None:
        """Leaves a lock to what goes on in the background."""
        self.held.remove((kind, key))

    def number(self, element: Element, path: str, method: str) -> int | None:
        """The whole number at `path`, None if there is none."""
        text = markup.find_text(element, path)
        if text is None:
            return None
        try:
            return int(text)
        except ValueError:
            service = self.path.strip("/").split("/")[0]
            raise faults.bad_syntax(self.host, service, method) from None


@dataclass
class Reply:
    """`location` is the path of what was made, for a 201; `wait` is how many real seconds it comes late.

    `text` and its type come instead of an element. `arranged` is whether the element is already in the order
    of the API model.
    """

    status: int = 200
    element: Element | None = None
    location: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.0
    text: tuple[bytes, str] | None = None
    arranged: bool = False


Handler = Callable[..., Reply]

# In the order in which the engine lists them.
_METHODS = ("HEAD", "DELETE", "POST", "GET", "OPTIONS", "PUT")


@dataclass(frozen=True)
class Route:
    method: str
    pattern: str
    handler: Handler


class Routes:
    """The operations of one resource. A pattern is a path with `{name}` for ids, given by keyword."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def add(self, method: str, pattern: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.routes.append(Route(method, pattern, handler))
            return handler

        return register


class Router:
    """All operations that are simulated, and the knowledge of the others."""

    def __init__(self, resources: Iterable[Routes]) -> None:
        self._paths: Paths[Route] = Paths()
        for resource in resources:
            for route in resource.routes:
                self._paths.add(route.method, route.pattern, route)

    def simulates(self, operation: Operation) -> bool:
        return operation.method in self._find(operation.path, operation.method)

    def _find(self, path: str, method: str) -> Mapping[str, tuple[Mapping[str, str], Route]]:
        """The routes of a path; those of its home where it has none of its own for the method."""
        found = self._paths.find(path)
        elsewhere = surface.home(path) if method not in found else None
        return self._find(elsewhere, method) if elsewhere is not None else found

    def answer(self, request: Request) -> Reply:
        """Handles a request, with faults as replies; raises `Refusal`."""
        try:
            if request.world.injections.fires("forbidden") is not None:
                raise faults.forbidden(request.path)
            return self.dispatch(request)
        except Fault as fault:
            return Reply(fault.status, fault.element(), wait=fault.wait)

    def dispatch(self, request: Request) -> Reply:
        """Handles a request; raises `Fault` or `Refusal`."""
        routes = self._find(request.path, request.method)
        operations = surface.PATHS.find(request.path)
        _, operation = operations.get(request.method, (None, None))
        if request.view is not None:
            _check_visible(request, request.view)
        if request.method in routes:
            ids, route = routes[request.method]
            return self._handle(route, operation, request, ids)
        if operation is not None:
            raise faults.not_simulated(
                f"{operation.service}.{operation.name}", f"{operation.method} {operation.path}"
            )
        known = {*routes, *operations}
        if not known:
            raise faults.no_such_resource(f"https://{request.host}{BASE}/v4/{request.path.strip('/')}")
        handled = {*known, "OPTIONS", *(("HEAD",) if "GET" in known else ())}
        allow = ", ".join(name for name in _METHODS if name in handled)
        if request.method == "OPTIONS":
            raise Refusal(200, allow.encode(), "text/plain;charset=UTF-8", {"Allow": allow})
        raise Refusal(405, headers={"Allow": allow})

    def _handle(
        self, route: Route, operation: Operation | None, request: Request, ids: Mapping[str, str]
    ) -> Reply:
        if operation is not None and operation.mandatory and request.method == "POST":
            body = request.body(operation.root, operation.place[1])
            operation.check_mandatory(body)
        permits.check(request, route.pattern, ids)
        reply = route.handler(request, **{name: value.lower() for name, value in ids.items()})
        if request.method == "POST" and reply.status in (201, 202) and reply.element is not None:
            permits.give_to_maker(request, route.pattern, reply.element)
        follow = request.query.get("follow")
        if follow and request.method == "GET" and reply.element is not None:
            for path in follow.split(","):
                self._follow(request, reply.element, path.strip().split("."))
            reply.arranged = False
        if reply.element is not None and not reply.arranged:
            markup.arrange(reply.element)
        return reply

    def _follow(self, request: Request, element: Element, path: Sequence[str]) -> None:
        """Replaces a link by what is behind it, as if the client had got it."""
        if element.get("id") is None and element.tag not in TYPES:
            for child in element:
                self._follow(request, child, path)
            return
        wanted = _plain(path[0])
        name = next((tag for tag in TYPES.get(element.tag, ()) if _plain(tag) == wanted), None)
        link = next(
            (link for link in element.iterfind("link") if _plain(link.get("rel", "")) == wanted), None
        )
        present = element.find(name) if name is not None else None
        if element.tag == "event" or (link is None and name is None):
            raise faults.server_error(f"follow: {path[0]}")
        source = link if link is not None else present
        if source is None:
            return
        href = source.get("href")
        if href is not None and (source is link or not len(source)):
            inner = self._get(request, href)
            if source is link:
                element.append(inner)
            else:
                inner.tag = source.tag
                element.replace(source, inner)
            source = inner
        if len(path) > 1:
            self._follow(request, source, path[1:])

    def _get(self, request: Request, href: str) -> Element:
        reply = self.dispatch(request.inner("GET", href.removeprefix(BASE)))
        assert reply.element is not None
        return reply.element


_FILTERED = {
    "vms": "vms",
    "templates": "templates",
    "disks": "disks",
    "clusters": "clusters",
    "data_centers": "datacenters",
    "storage_domains": "storagedomains",
    "vnic_profiles": "vnicprofiles",
    "networks": "networks",
    "hosts": "hosts",
}
"""Lists of which the filtered view shows a part: the elements of their members, and their collections."""


def _check_visible(request: Request, view: permits.View) -> None:
    """Refuses what the filtered view has not: what it does not show is not there, and not to be acted on.

    Recorded: the 404 and 403 on VMs, the 400 on jobs. Which other queries are for administrators alone is the
    engine's `QueryType`.
    """
    parts = [part for part in request.path.lower().split("/") if part]
    reads = request.method in ("GET", "OPTIONS")
    if len(parts) > 1 and not view.shows(parts[0], parts[1]):
        hidden = reads or request.method == "DELETE"
        raise faults.not_found() if hidden else faults.forbidden(request.path)
    if reads and (parts == ["jobs"] or parts[:-1] == ["events"] or parts[-1:] in _OF_ADMINISTRATORS):
        raise faults.insufficient_permissions()


_OF_ADMINISTRATORS = (["tags"], ["affinitygroups"])


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def collection(
    request: Request,
    tag: str,
    rows: Iterable[Any],
    render: Callable[[Any], Element],
    fields: Fields | None = None,
    order: Callable[[Any], Any] | None = None,
    *,
    arranged: bool = False,
    write: Callable[[Any], str] | None = None,
) -> Reply:
    """A list: searched if the resource can be searched, sorted by the keys of `order`, cut to `max`.

    `arranged` is whether `render` gives its elements in the order of the API model. `write` is the quick way:
    it gives what `markup.member_xml` makes of them.
    """
    maximum = request.query.get("max", "")
    limit = int(maximum) if re.fullmatch(r"-?\d+", maximum) else None
    if limit is not None and limit < 0:
        raise Fault(400, f"illegal max count value for query : {limit}")
    text = request.query.get("search")
    kind = _FILTERED.get(tag)
    if request.view is not None and kind is not None:
        view = request.view
        rows = [row for row in rows if view.shows(kind, row.id)]
        # Source: `AbstractBackendCollectionResource.getBackendCollection`.
        limit = limit if text is not None else None
    if fields is not None:
        rows = search(
            rows,
            text or "",
            fields,
            case_sensitive=request.query.get("case_sensitive", "false").lower() == "true",
            maximum=limit,
            now=request.world.now,
            order=order,
        )
    elif text:
        rows = []
    else:
        rows = list(rows if order is None else sorted(rows, key=order))[:limit]
    if write is not None and request.as_xml and not request.query.get("follow"):
        return Reply(200, text=(markup.list_xml(tag, map(write, rows)), markup.XML_TYPE))
    return Reply(200, node(tag, None, *(render(row) for row in rows)), arranged=arranged)


def created(element: Element) -> Reply:
    href = element.get("href")
    return Reply(201, element, location=href)


def complete(job_id: str | None = None) -> Reply:
    """What a DELETE answers."""
    job = node("job", href=f"{BASE}/jobs/{job_id}", id=job_id) if job_id is not None else None
    return Reply(200, node("action", None, job, node("status", "complete")))


def perform(request: Request, method: str, act: Callable[[Element], Sequence[Element]]) -> Reply:
    """An action: its own element comes back, with what `act` returns or with the fault in it."""
    body = request.body("action", method)
    try:
        shown = act(body)
    except Fault as fault:
        if fault.bare:
            raise
        echo = markup.without(body, ("fault", "status", "job"))
        echo.extend([fault.element(), node("status", "failed")])
        return Reply(fault.status, echo, wait=fault.wait)
    echo = markup.without(body, ("fault", "status", "job"))
    for element in shown:
        for given in echo.findall(element.tag):
            echo.remove(given)
    echo.extend([*shown, node("status", "complete")])
    return Reply(200, echo)


def link(path: str, rel: str) -> Element:
    return node("link", href=f"{BASE}{path}/{rel}", rel=rel)


def links(path: str, rels: Iterable[str]) -> list[Element]:
    return list(actions(path, rels))


def actions(path: str, rels: Iterable[str]) -> Element:
    # An entity has dozens of links: reading them as text takes a tenth of the time of making each.
    return etree.fromstring(_link_text(tuple(rels)).replace(_HERE, BASE + escape(path)))


_HERE = "@"


@functools.cache
def _link_text(rels: Sequence[str]) -> str:
    made = node("actions", None, *(node("link", href=f"{_HERE}/{rel}", rel=rel) for rel in rels))
    return etree.tostring(made, encoding="unicode")


def reference(tag: str, path: str, entity_id: str) -> Element:
    """An element that only says which entity it is; `path` is that of its collection."""
    return node(tag, href=f"{BASE}{path}/{entity_id}", id=entity_id)


def require_id(text: str) -> str:
    """The id of a body in lower case; raises the engine's fault when it is malformed."""
    if not is_uuid(text):
        raise faults.invalid_uuid(text)
    return text.lower()


def find_or_404(table: Mapping[str, Any], key: str) -> Any:
    found = table.get(key)
    if found is None:
        raise faults.not_found()
    return found
