"""`/users`, `/groups` and `/domains`: whom the engine knows, and the directory that they come from."""

from ovirt_provision.simulator import faults
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    collection,
    complete,
    created,
    find_or_404,
    link,
    links,
)
from ovirt_provision.simulator.entities import User
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.search import Field, Fields, Kind

routes = Routes()

DOMAIN = "internal-authz"
DOMAIN_ID = DOMAIN.encode().hex().upper()
LINKS = ["sshpublickeys", "eventsubscriptions", "groups", "roles", "permissions", "tags", "options"]

FIELDS: Fields = {
    "name": Field(lambda user: user.name, free_text=True),
    "lastname": Field(lambda user: user.last_name, free_text=True),
    "usrname": Field(lambda user: f"{user.principal}@{DOMAIN}", free_text=True),
    "email": Field(lambda user: user.email),
    "id": Field(lambda user: user.id, Kind.ID),
}


def _domain(*inner: Element) -> Element:
    return node(
        "domain", None, node("name", DOMAIN), *inner, href=f"{BASE}/domains/{DOMAIN_ID}", id=DOMAIN_ID
    )


def render_user(user: User) -> Element:
    path = f"/users/{user.id}"
    return node(
        "user",
        None,
        node("name", user.name),
        *links(path, LINKS),
        node("department", ""),
        node("domain_entry_id", user.entry_id.encode().hex().upper()),
        node("email", user.email),
        node("last_name", user.last_name),
        node("namespace", "*"),
        node("principal", user.principal),
        node("user_name", f"{user.principal}@{DOMAIN}"),
        _domain(),
        href=BASE + path,
        id=user.id,
    )


@routes.add("GET", "/users")
def list_users(request: Request) -> Reply:
    return collection(request, "users", list(request.world.users.values()), render_user, FIELDS)


@routes.add("POST", "/users")
def add_user(request: Request) -> Reply:
    world = request.world
    body = request.body("user", "add")
    user_name = find_text(body, "user_name")
    if not user_name:
        raise faults.incomplete("User", ["userName"])
    if body.find("domain") is None and "@" not in user_name:
        raise faults.incomplete("User", ["domain.id|name"])
    principal = user_name.partition("@")[0]
    present = next((user for user in world.users.values() if user.principal == principal), None)
    user = present or world.directory.get(principal)
    if user is None:
        raise faults.entity_not_found(f"ADUSER@{DOMAIN}:: username={principal}")
    world.users[user.id] = user
    return created(render_user(user))


@routes.add("GET", "/users/{user}")
def show_user(request: Request, user: str) -> Reply:
    return Reply(200, render_user(find_or_404(request.world.users, user)))


@routes.add("DELETE", "/users/{user}")
def remove_user(request: Request, user: str) -> Reply:
    world = request.world
    found: User = find_or_404(world.users, user)
    del world.users[user]
    for permission in [one for one in world.permissions.values() if one.user is found]:
        del world.permissions[permission.id]
    return complete()


@routes.add("GET", "/domains")
def list_domains(request: Request) -> Reply:
    return collection(request, "domains", [DOMAIN_ID], lambda _: _render_domain())


@routes.add("GET", "/domains/{domain}")
def show_domain(_request: Request, domain: str) -> Reply:
    if domain.upper() != DOMAIN_ID:
        raise faults.not_found()
    return Reply(200, _render_domain())


def _render_domain() -> Element:
    path = f"/domains/{DOMAIN_ID}"
    searches = [
        node("link", href=f"{BASE}{path}/{name}?search={{query}}", rel=f"{name}/search")
        for name in ("groups", "users")
    ]
    return _domain(link(path, "groups"), link(path, "users"), *searches)


@routes.add("GET", "/domains/{domain}/users")
def list_directory(request: Request, domain: str) -> Reply:
    """Whom the directory has; a search without a field finds nothing, as recorded."""
    rows = list(request.world.directory.values()) if domain.upper() == DOMAIN_ID else []
    fields = {name: Field(field.get, field.kind) for name, field in FIELDS.items()}
    return collection(request, "users", rows, render_user, fields)
