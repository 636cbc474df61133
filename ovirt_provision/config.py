"""The daemon's configuration: engine profiles, who may call, and time-outs, from a YAML file and the OVIRT_*
variables.

default_engine: production
engines:
  production:
    url: https://engine.example.com/ovirt-engine/api
    username: admin@internal
    password_file: /etc/ovirt-provision/password
    ca_file: /etc/ovirt-provision/engine-ca.pem
timeouts:
  create_machine: 3600
owners:
  spiffe://example.com/ci:
    templates: [debian-12, ci-*]
    max_machines: 20
tls:
  listen: 0.0.0.0:7443
  cert_file: daemon.pem
  key_file: daemon.key
  client_ca_file: clients-ca.pem
"""

import hashlib
import ipaddress
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from ovirt_provision import logs, paths, tokens
from ovirt_provision.errors import (
    Code,
    EngineMismatch,
    EngineProfileNotFound,
    ProvisionError,
    Violation,
    did_you_mean,
)

# The profile that the OVIRT_* variables make.
ENVIRONMENT_PROFILE = "env"
# OVIRT_* variable -> field of EngineProfile.
ENVIRONMENT_VARIABLES = {
    "OVIRT_URL": "url",
    "OVIRT_USERNAME": "username",
    "OVIRT_PASSWORD": "password",
    "OVIRT_CAFILE": "ca_file",
}
_EXAMPLE_URL = "https://engine.example.com/ovirt-engine/api"
_EXACTLY_ONE = "exactly one of password, password_file and password_credential must be given"
_ONE_AUTHENTICATION = "exactly one of client_ca_file and token_file must be given"
_MAX_SECRET_FILE_BYTES = 64 * 1024


class ConfigError(ProvisionError):
    """The configuration cannot be used; `violations` has all that is wrong with it, and never a value."""

    code = Code.INVALID_ARGUMENT
    reason = "CONFIG_INVALID"
    message = "{source} cannot be used:\n{listing}"
    advice = "{remedy}"

    def __init__(self, source: str, violations: Sequence[Violation], remedy: str = "") -> None:
        listing = "\n".join(
            f"  {v.field}: {v.description}" if v.field else f"  {v.description}" for v in violations
        )
        super().__init__(violations=violations, source=source, listing=listing, remedy=remedy)


class NoEngine(ProvisionError):
    """Neither the configuration file nor the OVIRT_* variables name an engine."""

    code = Code.FAILED_PRECONDITION
    reason = "NO_ENGINE"
    message = "no oVirt engine is configured: {file} {state}, and OVIRT_URL is not set"
    advice = (
        "Either add a profile under `engines:` in {file} (url, username, password_file, ca_file), or set "
        "OVIRT_URL, OVIRT_USERNAME, OVIRT_PASSWORD and OVIRT_CAFILE. Without an engine at hand, "
        "`ovirt-provision simulate` starts one and writes these variables to a file."
    )


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _absolute(path: Path, info: ValidationInfo) -> Path:
    path = path.expanduser()
    if path.is_absolute():
        return path
    folder = (info.context or {}).get("folder")
    if folder is None:
        raise ValueError("must be an absolute path")
    return Path(folder) / path


_Path = Annotated[Path, AfterValidator(_absolute)]
# How the names of owners begin that no certificate and no token may give: users of the unix socket.
LOCAL_OWNER = "uid:"
_OwnerName = Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f\x7f]+$", max_length=255)]
_Pattern = Annotated[str, StringConstraints(min_length=1, max_length=255)]
_ProfileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=63)]
_Network = Annotated[str, AfterValidator(lambda given: str(ipaddress.ip_network(given)))]
_CredentialName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=255)]


def local_owner() -> str:
    """The owner of what is called over the unix socket: the user that the daemon runs as."""
    return f"{LOCAL_OWNER}{os.getuid()}"


class EngineProfile(_Model):
    """How to reach one oVirt engine, and as whom."""

    insecure: bool = Field(
        False, description="Neither ask for TLS nor verify the engine's certificate. For tests only."
    )
    url: str = Field(
        description="URL of the engine's API, such as https://engine.example.com/ovirt-engine/api."
    )
    username: str = Field(min_length=1, description="User with its profile, such as admin@internal.")
    password: SecretStr | None = Field(
        None, description="The password itself; the file that holds it must then be closed to other users."
    )
    password_file: _Path | None = Field(
        None, description="File that holds the password; one final newline is dropped."
    )
    password_credential: _CredentialName | None = Field(
        None,
        validate_default=True,
        description="Name of a systemd credential (LoadCredential=) that holds the password.",
    )
    ca_file: _Path | None = Field(
        None, description="PEM file with the CA of the engine's certificate. Default: the system's own CAs."
    )
    connections: int = Field(
        4, ge=1, le=64, description="Requests that may be under way at the engine at the same time."
    )
    operations: int | None = Field(
        100,
        ge=0,
        description="Operations that may make or start something at the engine at the same time; the others "
        "wait in the order in which they came. 0 or null: any number. Stopping and undoing never wait; what "
        "destroys waits only while 100 others do so, none of them for more than 30 s.",
    )

    # Checks are per field, not per model: pydantic skips those of a model as soon as one field is wrong.

    @field_validator("url")
    @classmethod
    def _check_url(cls, given: str, info: ValidationInfo) -> str:
        # The SDK gets the URL as given and the fingerprint is made of it, so it is checked, never rewritten.
        try:
            parts = urlsplit(given)
            known = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise ValueError(f"must be a URL such as {_EXAMPLE_URL}")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold a user or a password; they have fields of their own")
        if parts.query or parts.fragment or not re.search(r"/api(/v4)?/?$", parts.path):
            raise ValueError(
                f"must be the URL of the engine's API, which ends in /api, such as {_EXAMPLE_URL}"
            )
        if parts.scheme == "http" and not info.data.get("insecure"):
            raise ValueError(
                "must be https://, since http:// sends the password in the clear "
                "(`insecure: true` allows it, for tests)"
            )
        return given

    @field_validator("password")
    @classmethod
    def _check_password(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None:
            logs.register_secret(given.get_secret_value())
            if not given.get_secret_value():
                raise ValueError("is empty")
        return given

    @field_validator("password_file")
    @classmethod
    def _check_password_file(cls, given: Path | None) -> Path | None:
        if given is not None:
            _read_secret(given)
        return given

    @field_validator("password_credential")
    @classmethod
    def _check_password_credential(cls, given: str | None, info: ValidationInfo) -> str | None:
        if given is not None:
            _read_secret(_credential(given))
        # A source that is itself wrong is absent from info.data.
        others = [info.data.get(name, "wrong") for name in ("password", "password_file")]
        if sum(source is not None for source in (given, *others)) != 1:
            raise ValueError(_EXACTLY_ONE)
        return given

    @field_validator("ca_file")
    @classmethod
    def _check_ca_file(cls, given: Path | None) -> Path | None:
        if given is not None:
            _read_ca(given)
        return given

    def read_password(self) -> SecretStr:
        """The password, read anew from its file, so that it may be changed while the daemon runs.

        Raises ConfigError when it cannot be read any more.
        """
        try:
            if self.password_file is not None:
                return SecretStr(_read_secret(self.password_file))
            if self.password_credential is not None:
                return SecretStr(_read_secret(_credential(self.password_credential)))
        except ValueError as error:
            raise ConfigError(f"the password for {self.url}", [Violation("", str(error))]) from None
        return self.password or SecretStr("")

    def read_ca(self) -> bytes:
        """The bytes of the CA file, empty without one. Raises ConfigError when it cannot be read any more."""
        try:
            return b"" if self.ca_file is None else _read_ca(self.ca_file)
        except ValueError as error:
            raise ConfigError(f"the CA for {self.url}", [Violation("ca_file", str(error))]) from None

    def fingerprint(self) -> str:
        """As `ovirt_provision.v1.EngineRef.fingerprint`."""
        return fingerprint(self.url, self.username, self.read_ca())


class Owner(_Model):
    """What one owner of Machines may do. An allow-list that is not given allows all; an empty one nothing."""

    role: Literal["user", "admin"] = Field(
        "user",
        description="An admin also sees and ends what belongs to others. No role lifts the limits below.",
    )
    engines: tuple[_ProfileName, ...] | None = Field(None, description="Engine profiles. Default: all.")
    clusters: tuple[_Pattern, ...] | None = Field(
        None, description="Names of the clusters that Machines may be made in; * and ? match. Default: all."
    )
    templates: tuple[_Pattern, ...] | None = Field(
        None,
        description="Names of the templates that are seen, that Machines may be made from (`Blank` too) and "
        "that may be made; * and ? match. Default: all.",
    )
    adopt: tuple[_Pattern, ...] | None = Field(
        None,
        description="Names of the VMs that others made and that may be adopted: started, stopped and "
        "restarted; * and ? match. Default: all for an admin, none for a user.",
    )
    max_machines: int | None = Field(
        None, ge=0, description="How many Machines may exist at the same time, on all engines. Default: any."
    )

    @field_validator("engines")
    @classmethod
    def _check_engines(cls, given: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        names = [str(name) for name in (info.context or {}).get("engines", given or ())]
        for name in given or ():
            if name not in names:
                raise ValueError(
                    f"there is no engine '{name}'; there is {_names(names)}{did_you_mean(name, names)}"
                )
        return given

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    @property
    def adoptable(self) -> tuple[str, ...]:
        """Patterns of the names of VMs that may be adopted."""
        return ("*",) if self.adopt is None and self.is_admin else self.adopt or ()

    def may_adopt(self, name: str) -> bool:
        """Whether a VM of that name, which is none of ours, may be adopted."""
        return any(fnmatchcase(name, pattern) for pattern in self.adoptable)

    def may_use(self, kind: Literal["engines", "clusters", "templates"], name: str) -> bool:
        """Whether an allow-list has the name, or is not given."""
        allowed: tuple[str, ...] | None = getattr(self, kind)
        return allowed is None or any(fnmatchcase(name, pattern) for pattern in allowed)


# Whoever can open the unix socket can read the daemon's files as well: limits would be no defence.
_LOCAL = Owner.model_validate({"role": "admin"})
_NOBODY = Owner.model_validate({"engines": (), "clusters": (), "templates": (), "max_machines": 0})


class Tls(_Model):
    """Where the daemon listens on TCP, and how it knows who calls. There is no TCP without TLS."""

    listen: str = Field(description="Address to listen on as well, `host:port`, such as 0.0.0.0:7443.")
    cert_file: _Path = Field(
        description="PEM file with the daemon's certificate and what leads to its CA. Its subject "
        "alternative names must have the host that clients dial. Read anew when it changes, as the others."
    )
    key_file: _Path = Field(description="PEM file with the key of cert_file, closed to other users.")
    client_ca_file: _Path | None = Field(
        None,
        description="PEM file with the CA of the clients' certificates. The owner is the one URI among a "
        "certificate's subject alternative names; without a URI the one e-mail address; without either the "
        "one DNS name. The common name counts for nothing.",
    )
    token_file: _Path | None = Field(
        None,
        validate_default=True,
        description="Instead of client_ca_file: file of bearer tokens, closed to other users, a line each: "
        "`OWNER sha256:HEX`. Read anew when it changes.",
    )

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, given: str) -> str:
        try:
            address = paths.parse_address(given, source="listen")
        except paths.AddressInvalid as error:
            raise ValueError(str(error).removeprefix("listen: ")) from None
        if address.socket is not None:
            raise ValueError(f"'{given}' is a unix socket, which belongs into `listen` at the top level")
        return given

    @field_validator("cert_file", "client_ca_file")
    @classmethod
    def _check_certificate(cls, given: Path | None) -> Path | None:
        if given is not None:
            _read_ca(given)
        return given

    @field_validator("key_file")
    @classmethod
    def _check_key(cls, given: Path) -> Path:
        try:
            paths.check_secret(given)
        except OSError as error:
            raise ValueError(f"{given} cannot be read: {error.strerror}") from None
        except paths.PathUnsafe as error:
            raise ValueError(f"{error}. {error.what_to_do}") from None
        if b"PRIVATE KEY-----" not in given.read_bytes():
            raise ValueError(f"{given} holds no private key in PEM format")
        return given

    @field_validator("token_file")
    @classmethod
    def _check_token_file(cls, given: Path | None, info: ValidationInfo) -> Path | None:
        if given is not None:
            try:
                known = tokens.read(given)
            except tokens.TokenFileUnusable as error:
                raise ValueError(f"{error}. {error.what_to_do}") from None
            owners = [str(name) for name in (info.context or {}).get("owners", ())]
            for name in {name: None for _, name in known}:
                if owners and name not in owners:
                    near = did_you_mean(name, owners)
                    raise ValueError(f"{given} has a token of '{name}', who is not among `owners`{near}")
        if (given is None) == (info.data.get("client_ca_file", "wrong") is None):
            raise ValueError(_ONE_AUTHENTICATION)
        return given


def _seconds(default: float, description: str) -> Any:
    return Field(default, gt=0, le=7 * 24 * 3600, allow_inf_nan=False, description=f"Seconds. {description}")


class Timeouts(_Model):
    """Every time-out, interval and grace of the daemon, by name, in seconds."""

    create_machine: float = _seconds(
        300,
        "The engine answers the requests to create a VM, its disks and the like. It is several times "
        "engine_request, so that an engine may leave some of them without an answer.",
    )
    machine_ready: float = _seconds(
        3600, "A created VM is down and its disks are copied; a full clone takes long."
    )
    disk_ready: float = _seconds(3600, "A disk that is not part of a create leaves the status locked.")
    start: float = _seconds(300, "A started VM is up (or powering up, for a guest without an agent).")
    console: float = _seconds(
        300, "A Machine that is about to be started can be typed to, once its console is asked for."
    )
    console_connect: float = _seconds(10, "Connection to the host of a console, until it is open.")
    key_interval: float = _seconds(
        0.1, "From one key event to the next, in a console; guests lose keys that come too fast."
    )
    address: float = _seconds(600, "The guest of a started VM reports an address.")
    address_settle: float = _seconds(
        2, "How long a guest's addresses must stay as they are before they count, unless a call says else."
    )
    ssh: float = _seconds(300, "The guest of a boot test answers as an SSH server, once it has an address.")
    shutdown: float = _seconds(120, "The guest obeys a shutdown; afterwards the VM is powered off.")
    guest_goes_down: float = _seconds(
        86400,
        "A guest that was told to from inside goes down; a client that waits for it has its own patience.",
    )
    power_off: float = _seconds(120, "A VM is down after it was powered off.")
    create_template: float = _seconds(3600, "The template stands: the engine copies every disk.")
    create_snapshot: float = _seconds(600, "The snapshot that a Machine is copied from stands.")
    remove_snapshot: float = _seconds(
        3600,
        "A removed snapshot is gone: the engine merges its disks, which takes long while the VM writes. "
        "Afterwards the janitor goes on with it.",
    )
    create_version: float = _seconds(
        1200,
        "The engine answers the request to create a template version. One that it did not answer is repeated "
        "only after engine_request and late_create_grace, because nothing fences a second version.",
    )
    fetch_image: float = _seconds(14400, "The daemon has fetched an image from its URL.")
    convert_image: float = _seconds(7200, "An image is in the format that is wanted.")
    transfer_image: float = _seconds(
        43200, "The bytes of an image are moved between the daemon and a host of the engine."
    )
    transfer_ready: float = _seconds(300, "The engine opens a transfer, or takes over what was uploaded.")
    seal: float = _seconds(900, "Sealing, which the engine does after the copy.")
    sparsify: float = _seconds(3600, "Disks are sparsified: the engine reads all that they hold.")
    export_template: float = _seconds(
        14400, "The engine has written a template to an OVA file or copied it to an export domain."
    )
    destroy: float = _seconds(
        600, "A removed VM, template or disk is gone; the engine first ends what it does with it."
    )
    engine_request: float = _seconds(
        60, "One request to the engine, from sending it to the end of the answer."
    )
    engine_connect: float = _seconds(10, "TCP and TLS connection to the engine.")
    login: float = _seconds(30, "The engine's SSO answers a login.")
    job: float = _seconds(
        300, "The engine's jobs with our correlation id end, once the objects themselves are ready."
    )
    explain: float = _seconds(1.5, "Once an operation has failed: the engine's log is read for the reason.")
    undo: float = _seconds(
        1800, "A failed or cancelled operation undoes its effects; then the janitor goes on with it."
    )
    late_create_grace: float = _seconds(
        600,
        "How long after the time-out of a create its object may still turn up in the engine and is swept.",
    )
    engine_lock: float = _seconds(
        30,
        "A request that the engine refuses is repeated, because locks of other operations pass and no text "
        "tells them from other refusals.",
    )
    cleanup_interval: float = _seconds(60, "How often the janitor looks for what is left to be cleaned.")
    watch_interval: float = _seconds(
        1, "How often the watcher looks at the engine while something waits on it."
    )
    renew_interval: float = _seconds(30, "How often a client renews its session lease.")
    lease_grace: float = _seconds(
        300, "How long a Machine with a session lease lives on after its client was last heard."
    )
    drain: float = _seconds(10, "Calls under way end after the daemon was told to stop.")
    idle: float = _seconds(600, "A daemon that a client started ends after so long without work.")

    @field_validator("lease_grace")
    @classmethod
    def _check_lease_grace(cls, given: float, info: ValidationInfo) -> float:
        if given < 2 * info.data.get("renew_interval", 0):
            raise ValueError("must be at least twice renew_interval, or one lost renewal ends a lease")
        return given


class Metrics(_Model):
    """Where the daemon exposes its metrics."""

    listen: str = Field(
        description="`unix:/path`, or `host:port` with a loopback address, such as 127.0.0.1:9464. Other "
        "addresses are refused: what serves them has neither TLS nor a login."
    )

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, given: str) -> str:
        try:
            address = paths.parse_address(given, source="listen")
        except paths.AddressInvalid as error:
            raise ValueError(f"{error.fields['problem']}") from None
        host = address.target.rpartition(":")[0].strip("[]")
        if address.socket is None and host != "localhost" and not _is_loopback(host):
            raise ValueError(
                f"{given} is no loopback address, and the metrics are served without TLS: "
                "listen on 127.0.0.1 or unix:/path, and let a proxy with TLS stand before it"
            )
        return given


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Images(_Model):
    """The disk images that the daemon keeps: what clients upload, and what it fetches for them."""

    folder: _Path | None = Field(None, description="Where they are. Default: `images` in the state folder.")
    max_total_gib: float = Field(
        100,
        gt=0,
        description="How much room they take at most, in GiB; what was not used for longest goes first.",
    )
    max_disk_gib: float = Field(
        8192,
        gt=0,
        description="How large the disk of an image may be, in GiB; larger ones are refused.",
    )
    keep_days: int = Field(14, ge=0, le=3650, description="Days for which one is kept that is not used.")
    allowed_networks: tuple[_Network, ...] = Field(
        (),
        description="Private, loopback and link-local networks, such as 10.0.0.0/8, from which URLs are "
        "fetched. Default: none.",
    )


class Config(_Model):
    """The whole configuration of a daemon."""

    engines: dict[_ProfileName, EngineProfile] = Field(
        default_factory=dict,
        description="Engine profiles by name. OVIRT_* variables make one more, named env.",
    )
    default_engine: str = Field(
        "",
        validate_default=True,
        description="Profile of calls that name none. Default: env if there is one, else the only profile.",
    )
    timeouts: Timeouts = Field(default_factory=lambda: Timeouts(), description="In seconds, by name.")
    retention_days: int = Field(
        30,
        ge=1,
        le=3650,
        description="Days for which the ledger keeps an operation that has ended; so long its request_id "
        "means it. One that made what still stands is kept as long as that.",
    )
    listen: _Path | None = Field(
        None, description="Path of the unix socket to listen on instead of the default one."
    )
    tombstones: _Path | None = Field(
        None,
        description="Folder in which docker-machine's plugins leave tombstones, as in their variable "
        "OVIRT_PROVISION_TOMBSTONES. Default: tombstones in the state folder.",
    )
    metrics: Metrics | None = Field(None, description="Expose metrics for Prometheus. Default: none.")
    owners: dict[_OwnerName, Owner] = Field(
        default_factory=dict,
        description="Who may call over TLS, by the name in the certificate or token. On the unix socket the "
        "daemon's user, uid:N, is an admin without limits unless named here.",
    )
    images: Images = Field(
        default_factory=lambda: Images.model_validate({}),
        description="Disk images that are imported and exported.",
    )
    tls: Tls | None = Field(
        None, description="Listen on TCP, too, for the owners that have a certificate or a token."
    )

    @field_validator("listen", mode="before")
    @classmethod
    def _check_listen(cls, given: Any) -> Any:
        if isinstance(given, str) and re.fullmatch(r"[^/]*:\d+", given):
            raise ValueError(
                f"must be the path of a unix socket; {given} belongs into `tls.listen`, with the "
                "certificates that TCP takes"
            )
        return given

    @field_validator("tls")
    @classmethod
    def _check_tls(cls, given: Tls | None, info: ValidationInfo) -> Tls | None:
        remote = [name for name in info.data.get("owners", {"wrong": ""}) if not name.startswith(LOCAL_OWNER)]
        if given is not None and not remote:
            raise ValueError("nobody could call: name those who may under `owners`")
        return given

    @field_validator("default_engine")
    @classmethod
    def _check_default_engine(cls, given: str, info: ValidationInfo) -> str:
        # The names come in the context, because `engines` is absent from info.data when one of them is wrong.
        names = [str(name) for name in (info.context or {}).get("engines", info.data.get("engines", ()))]
        if not given and (ENVIRONMENT_PROFILE in names or len(names) <= 1):
            return ENVIRONMENT_PROFILE if ENVIRONMENT_PROFILE in names else "".join(names)
        if not given:
            raise ValueError(f"is required where there are several engines: {_names(names)}")
        if given not in names:
            raise ValueError(
                f"there is no engine of that name; there is {_names(names)}{did_you_mean(given, names)}"
            )
        return given

    def limits(self, owner: str) -> Owner:
        """What an owner may do: as `owners` says; else all for the daemon's user, and nothing for others."""
        return self.owners.get(owner) or (_LOCAL if owner.startswith(LOCAL_OWNER) else _NOBODY)

    def operations_cap(self, profile: str) -> int:
        """How many operations may be at work on the engine of a profile at once, 0 for any number."""
        return self.engines[profile].operations or 0 if profile in self.engines else 0

    def engine(self, profile: str, caller_fingerprint: str = "") -> tuple[str, EngineProfile]:
        """Name and profile of the engine that a call means: the fields of `ovirt_provision.v1.EngineRef`.

        Raises EngineProfileNotFound and EngineMismatch.
        """
        name = profile or self.default_engine
        if name not in self.engines:
            raise EngineProfileNotFound(
                profile=name, known=_names(self.engines), near=did_you_mean(name, self.engines)
            )
        found = self.engines[name]
        if caller_fingerprint and caller_fingerprint != found.fingerprint():
            raise EngineMismatch(
                url=found.url,
                username=found.username,
                daemon_fingerprint=found.fingerprint(),
                caller_fingerprint=caller_fingerprint,
            )
        return name, found


def fingerprint(url: str, username: str, ca: bytes) -> str:
    """As `ovirt_provision.v1.EngineRef.fingerprint`; `ca` is the CA file's content, empty without one."""
    ca_hash = hashlib.sha256(ca).hexdigest() if ca else ""
    return hashlib.sha256(f"{url}\n{username}\n{ca_hash}".encode()).hexdigest()


def load(file: Path, environ: Mapping[str, str], *, folder: Path | None = None) -> Config:
    """Reads the configuration file, if there is one, and the OVIRT_* variables among `environ`.

    `folder` is what a relative OVIRT_CAFILE is relative to; without one it has to be absolute. Relative paths
    in the file are relative to the file's own folder. The other variables mean nothing without OVIRT_URL.
    Raises ConfigError, with all that is wrong, and NoEngine.
    """
    raw = _read_yaml(file)
    engines = {} if raw.get("engines") is None else raw["engines"]
    violations: list[Violation] = []
    source = f"the configuration file {file}"
    if environ.get("OVIRT_URL"):
        source = f"{source} with the OVIRT_* variables" if raw else "what the OVIRT_* variables say"
        profile = {field: environ[name] for name, field in ENVIRONMENT_VARIABLES.items() if environ.get(name)}
        if "ca_file" in profile:
            ca_file = Path(profile.pop("ca_file")).expanduser()
            if ca_file.is_absolute() or folder is not None:
                profile["ca_file"] = str((folder or Path("/")) / ca_file)
            else:
                violations.append(Violation("OVIRT_CAFILE", "must be an absolute path"))
        if isinstance(engines, dict):
            if ENVIRONMENT_PROFILE in engines:
                violations.append(
                    Violation(
                        f"engines.{ENVIRONMENT_PROFILE}", "is the name of the profile that OVIRT_URL makes"
                    )
                )
            engines = {**engines, ENVIRONMENT_PROFILE: profile}
    owners = raw.get("owners")
    context = {
        "folder": file.parent,
        "engines": engines if isinstance(engines, dict) else (),
        "owners": owners if isinstance(owners, dict) else (),
    }
    try:
        config = Config.model_validate({**raw, "engines": engines}, context=context)
    except ValidationError as error:
        violations += [
            _violation(details) for details in error.errors(include_input=False, include_url=False)
        ]
    if violations:
        raise ConfigError(source, violations, remedy="Correct what is named, then start again.")
    if not config.engines:
        raise NoEngine(file=file, state="names none" if file.exists() else "does not exist")
    if any(profile.password for name, profile in config.engines.items() if name != ENVIRONMENT_PROFILE):
        _refuse_readable(file)
    return config


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(str(file), [Violation("", f"cannot be read: {error.strerror}")]) from None
    except (yaml.YAMLError, ValueError) as error:
        # Not str(error): it quotes the line, and with it a password.
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = re.split(r"['\"]", getattr(error, "problem", None) or "")[0].strip()
        raise ConfigError(
            str(file),
            [Violation("", f"{place}not valid YAML{f' ({problem} …)' if problem else ''}")],
            remedy="Put values that begin with one of * & ! % @ ` or that hold a colon in quotes.",
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(str(file), [Violation("", "must be a mapping with keys such as `engines:`")])
    return content


def _violation(details: ErrorDetails) -> Violation:
    location = [str(part) for part in details["loc"] if part != "[key]"]
    message = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    if details["type"] == "extra_forbidden":
        # What is no identifier may be a slip such as `password:secret`, without the space.
        key = "".join(re.findall(r"^[\w-]*", location[-1]))
        known = _known_fields(location[:-1])
        message = "is not a known key" + (did_you_mean(key, known) or f"; known are {_names(known)}")
        location[-1] = key if key == location[-1] else f"{key}…"
    elif details["type"] == "missing":
        message = "is required"
    elif details["type"] == "string_type":
        message = "must be text; put it in quotes if it looks like a number, a date or a yes or no"
    elif details["type"] == "path_type":
        message = "must be a path"
    elif details["type"] in ("dict_type", "model_type"):
        message = "must be a mapping of names to values"
    if location[:2] == ["engines", ENVIRONMENT_PROFILE] and len(location) > 2:
        variables = {field: name for name, field in ENVIRONMENT_VARIABLES.items()}
        if message == _EXACTLY_ONE:
            return Violation("OVIRT_PASSWORD", "is required")
        return Violation(variables[location[2]], message)
    if message == _EXACTLY_ONE:
        location[-1] = "password"
    if message == _ONE_AUTHENTICATION:
        location[-1] = "client_ca_file"
    return Violation(".".join(location), message)


def _known_fields(location: list[str]) -> list[str]:
    model: type[_Model] = Config
    if location[:1] == ["engines"]:
        model = EngineProfile
    elif location[:1] == ["timeouts"]:
        model = Timeouts
    elif location[:1] == ["metrics"]:
        model = Metrics
    elif location[:1] == ["images"]:
        model = Images
    elif location[:1] == ["owners"]:
        model = Owner
    elif location[:1] == ["tls"]:
        model = Tls
    return list(model.model_fields)


def _refuse_readable(file: Path) -> None:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(
            str(file),
            [Violation("", f"holds a password and has mode {mode:04o}, so other users can read it")],
            remedy=f"Run `chmod 600 {file}`, or move the password out of it with password_file.",
        )


def _read_secret(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_SECRET_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_SECRET_FILE_BYTES:
        raise ValueError(f"{file} is larger than {_MAX_SECRET_FILE_BYTES} bytes")
    try:
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text") from None
    if not secret:
        raise ValueError(f"{file} is empty")
    logs.register_secret(secret)
    return secret


def _credential(name: str) -> Path:
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        raise ValueError("needs $CREDENTIALS_DIRECTORY, which systemd sets for a unit with LoadCredential=")
    return Path(folder) / name


def _read_ca(file: Path) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ValueError(f"{file} holds no certificate in PEM format")
    return content


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
