"""What was asked for: frozen values with Linode's field names, ranges and units.

Compared by value, picklable, and without a trace of what is known at run time (that lives in ``balancing.pool``).
Collections are dicts by name, so that equality does not depend on the order of sections in the file. Each field made
by ``key`` is a key of the INI file; the class is its section.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from nodebalancer.fields import (
    CIDR,
    Address,
    Choice,
    Flag,
    HostPort,
    Integer,
    IPAddress,
    Lines,
    ListOf,
    Maybe,
    Network,
    Pattern,
    Text,
    key,
    only,
)

NAME = r"[A-Za-z0-9_.-]{1,64}"
"""What a name in a section header or a node line may be."""


class Protocol(enum.Enum):
    """What a config speaks with its clients (R6, R7, R10)."""

    TCP = "tcp"
    HTTP = "http"
    HTTPS = "https"
    UDP = "udp"


class Algorithm(enum.Enum):
    """Which node the next client gets (R13)."""

    ROUNDROBIN = "roundrobin"
    LEASTCONN = "leastconn"
    SOURCE = "source"


class Stickiness(enum.Enum):
    """What makes a client come back to its node (R14 to R16)."""

    NONE = "none"
    TABLE = "table"
    HTTP_COOKIE = "http_cookie"


class Check(enum.Enum):
    """How nodes are probed (R20)."""

    NONE = "none"
    CONNECTION = "connection"
    HTTP = "http"
    HTTP_BODY = "http_body"


class Mode(enum.Enum):
    """What a node is wanted for (R25 to R28)."""

    ACCEPT = "accept"
    REJECT = "reject"
    DRAIN = "drain"
    BACKUP = "backup"


class ProxyProtocol(enum.Enum):
    """Whether a tcp node is told the client by a PROXY header, and in which version."""

    NONE = "none"
    V1 = "v1"
    V2 = "v2"


class CipherSuite(enum.Enum):
    """Which TLS clients are let in (R12)."""

    RECOMMENDED = "recommended"
    LEGACY = "legacy"


class Redirect(enum.Enum):
    """Where a config without nodes sends its clients."""

    NONE = "none"
    HTTPS = "https"


class Underscores(enum.Enum):
    """What happens to request fields with an underscore in their name; many nodes read ``_`` as ``-``."""

    DROP = "drop"
    KEEP = "keep"
    REJECT = "reject"


class Upgrade(enum.Enum):
    """Protocols that an HTTP connection may be upgraded to."""

    WEBSOCKET = "websocket"


class LogFormat(enum.Enum):
    """Formats of the access log."""

    COMBINED = "combined"
    JSON = "json"


class ServiceLogFormat(enum.Enum):
    """Formats of the service log."""

    TEXT = "text"
    JSON = "json"


class ServiceLogLevel(enum.Enum):
    """How much matters enough for the service log; each has what follows it too."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class Policy(enum.Enum):
    """What a firewall does with a connection that no rule names."""

    ACCEPT = "ACCEPT"
    DROP = "DROP"


WORST_SECONDS = 30 * 86400
"""The longest time-out that may be set: thirty days."""


@attrs.frozen
class Node:
    """One node: a line of ``[nodes NODEBALANCER/CONFIG]`` (R23)."""

    name: str
    address: Address
    """Where it listens; the host may be a name, which ``health.names`` resolves."""
    weight: int = key(
        Integer(1, 255), 100, "Its share of the connections in proportion to the other nodes' weights.", row="R23"
    )
    mode: Mode = key(Choice(Mode), Mode.ACCEPT, "What it is wanted for.", row="R25")
    label: str = key(Text(64), "", "A name for people; default: the node's name.", row="R23")


@attrs.frozen
class PortConfig:
    """One port and how it balances: ``[config NODEBALANCER/CONFIG]`` (R5 to R22)."""

    name: str
    nodes: Mapping[str, Node] = attrs.field(factory=dict)

    id: int | None = key(Maybe(Integer(1, 2**53)), None, "The number the REST API knows it by; given by us when empty.")
    port: int = key(Integer(1, 65534), 80, "The port it listens on.", row="R5")
    protocol: Protocol = key(
        Choice(Protocol),
        Protocol.HTTP,
        "What is spoken with clients: tcp passes bytes through, http is a reverse proxy, https ends TLS before that.",
        available=only(Protocol.TCP, Protocol.HTTP, Protocol.HTTPS),
        row="R6, R7, R10",
    )
    algorithm: Algorithm = key(
        Choice(Algorithm),
        Algorithm.ROUNDROBIN,
        "Which node the next client gets; round robin is smooth and weighted.",
        row="R13",
    )
    stickiness: Stickiness = key(
        Choice(Stickiness),
        Stickiness.NONE,
        "What makes a client come back to its node.",
        row="R14 to R16",
    )
    stickiness_ttl: int = key(
        Integer(1, WORST_SECONDS, "seconds"),
        1800,
        "Seconds a table entry outlives the client's last connection.",
        row="R15",
    )
    stickiness_entries: int = key(Integer(1, 10_000_000), 100_000, "How many clients the table remembers.", row="R15")

    check: Check = key(Choice(Check), Check.CONNECTION, "How nodes are probed.", row="R20")
    check_interval: int = key(Integer(2, 3600, "seconds"), 10, "Seconds between two probes of a node.", row="R19")
    check_timeout: int = key(
        Integer(1, 30, "seconds"), 5, "Seconds a probe may take; less than the interval.", row="R19"
    )
    check_attempts: int = key(Integer(1, 30), 3, "Failed probes in a row that take a node out.", row="R19")
    check_rise: int = key(Integer(1, 30), 2, "Good probes in a row that bring a node back.", row="R22")
    check_path: str = key(
        Pattern(r"/[\x21-\x7e]*", "a path that begins with / and has no blanks", 1024),
        "",
        "The path an HTTP probe asks for.",
        row="R20",
    )
    check_body: str = key(Text(1024), "", "A regular expression (PCRE) that the probe's body must match.", row="R20")
    check_host: str = key(
        Pattern(r"[\x21-\x2b\x2d-\x7e]+", "a host name, with a port if need be", 255),
        "",
        "The Host field of a probe; default: the node's address and port.",
        row="R21",
    )
    check_port: int | None = key(
        Maybe(Integer(1, 65535)), None, "The port that is probed; default: the node's own.", row="R20"
    )
    check_passive: bool = key(Flag(), True, "Whether failures of live traffic take a node out.", row="R18")
    passive_attempts: int = key(Integer(1, 1000), 1, "Live failures in a row that take a node out.", row="R18")
    passive_max_out: int = key(
        Integer(0, 100, "percent"),
        50,
        "How many percent of the accept nodes live failures may take out, rounded down.",
        row="R18",
    )
    passive_retry: int = key(
        Integer(1, 3600, "seconds"),
        30,
        "Longest time in seconds until a node without probes is tried again.",
        row="R18",
    )
    slow_start: int = key(Integer(0, 3600, "seconds"), 0, "Seconds until a node that came up has its full weight.")

    timeout_request: int = key(Integer(1, 3600, "seconds"), 10, "Seconds a client has for its whole request head.")
    timeout_connect: int = key(Integer(1, 3600, "seconds"), 3, "Seconds a node has to accept a connection.")
    timeout_client: int = key(
        Integer(1, WORST_SECONDS, "seconds"), 60, "Seconds a client may be idle while we wait for it."
    )
    timeout_server: int = key(
        Integer(1, WORST_SECONDS, "seconds"),
        60,
        "Seconds a node may be idle while we wait for it, for the response head too.",
    )
    timeout_tunnel: int = key(
        Integer(1, WORST_SECONDS, "seconds"), 3600, "Seconds both sides may be silent: tcp, and http after an upgrade."
    )
    timeout_half_closed: int = key(
        Integer(1, WORST_SECONDS, "seconds"), 300, "Seconds of silence after one side has said that it sends no more."
    )
    min_rate: int = key(
        Integer(0, 2**31, "bytes a second"),
        256,
        "Bytes a second, over a minute (or the longer of timeout_client and timeout_server), that have to move while we wait for a client to send its body or to take its response, or for a node to take a body (http, https); 0: any.",
    )

    proxy_protocol: ProxyProtocol = key(
        Choice(ProxyProtocol),
        ProxyProtocol.NONE,
        "The PROXY header sent to nodes (tcp only).",
    )
    outgoing_address: tuple[str, ...] = key(
        ListOf(IPAddress()), (), "Addresses that connections to nodes come from, in turn; default: the system's choice."
    )

    cipher_suite: CipherSuite = key(
        Choice(CipherSuite), CipherSuite.RECOMMENDED, "Which TLS clients are let in.", row="R12"
    )
    ssl_cert: str = key(Text(), "", "File with the certificate and its chain (PEM).", row="R11")
    ssl_key: str = key(Text(), "", "File with the certificate's key (PEM, no passphrase).", row="R11")
    ssl_names: tuple[str, ...] = key(ListOf(Text(253)), (), "Names the certificate must be valid for.", row="R11")
    ssl_cert_dir: str = key(Text(), "", "Directory with more certificates, chosen by name (SNI).", row="R11")

    redirect: Redirect = key(
        Choice(Redirect),
        Redirect.NONE,
        "Send clients to the https config of the same NodeBalancer instead of to nodes: the one on port 443, else the first.",
    )
    underscores: Underscores = key(
        Choice(Underscores), Underscores.DROP, "What happens to request fields with an underscore in their name."
    )
    upgrades: tuple[Upgrade, ...] = key(
        ListOf(Choice(Upgrade)), (Upgrade.WEBSOCKET,), "Protocols a client may upgrade to; empty: none."
    )
    request_id: bool = key(Flag(), False, "Give each request an X-Request-ID field when it has no good one.")
    error_pages: str = key(Text(), "", "Directory with pages of your own for our errors, such as 503.html or 503.http.")


EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 a load balancer is for everybody by default
"""All addresses of this machine."""


@attrs.frozen
class NodeBalancer:
    """One NodeBalancer: ``[nodebalancer NAME]`` (R1 to R4)."""

    name: str
    configs: Mapping[str, PortConfig] = attrs.field(factory=dict)

    id: int | None = key(Maybe(Integer(1, 2**53)), None, "The number the REST API knows it by; given by us when empty.")
    label: str = key(Text(64), "", "A name for people; default: the NodeBalancer's name.", row="R1")
    listen: tuple[str, ...] = key(
        ListOf(IPAddress(), at_least=1), EVERYWHERE, "The addresses that its configs listen on.", row="R1"
    )
    freebind: bool = key(Flag(), False, "Listen also on addresses that this machine does not have yet.", row="R33")
    client_conn_throttle: int = key(
        Integer(0, 1_000_000),
        0,
        "New connections a second from one client address; 0: no limit.",
        row="R2",
    )
    throttle_burst: int | None = key(
        Maybe(Integer(1, 1_000_000)),
        None,
        "Connections a client may make at once; default: the throttle's rate.",
        row="R2",
    )
    throttle_exempt: tuple[Network, ...] = key(ListOf(CIDR()), (), "Networks that are never throttled.", row="R2")
    max_connections: int = key(Integer(1, 1_000_000), 10_000, "Concurrent connections over all its ports.", row="R3")
    client_max_connections: int = key(
        Integer(0, 1_000_000),
        0,
        "Concurrent connections from one client address; 0: no limit.",
        row="R3",
    )
    firewall: str = key(
        Pattern(NAME, "the name of a [firewall …] section"),
        "",
        "The firewall in front of it.",
        row="R4",
    )
    trusted_proxies: tuple[Network, ...] = key(
        ListOf(CIDR()), (), "Networks of proxies in front of us, whose X-Forwarded-For is believed.", row="R8"
    )


@attrs.frozen
class Service:
    """The process: ``[service]``."""

    workers: int = key(Integer(1, 1024), 1, "Processes that carry traffic.", available=only(1))
    state_dir: str = key(Text(), "/var/lib/nodebalancer", "Directory for what is learnt: ids, statistics, keys.")
    cookie_key_file: str = key(Text(), "", "File with the key of cookies; default: cookie.key in state_dir.", row="R16")
    log_format: ServiceLogFormat = key(
        Choice(ServiceLogFormat),
        ServiceLogFormat.TEXT,
        "Format of the service log; twistd's options say where it goes.",
    )
    log_level: ServiceLogLevel = key(
        Choice(ServiceLogLevel), ServiceLogLevel.INFO, "The service log has what matters as much as this, or more."
    )
    access_log: str = key(Text(), "", "File of the access log; - for standard output, empty for none.")
    access_log_format: LogFormat = key(Choice(LogFormat), LogFormat.COMBINED, "Format of the access log.")
    grace_period: int = key(
        Integer(0, 86400, "seconds"), 30, "Seconds that open connections may go on after a stop was asked for."
    )
    shutdown_delay: int = key(
        Integer(0, 3600, "seconds"),
        0,
        "Seconds for which /health says 503 before we stop listening, for whoever balances us to notice.",
    )


@attrs.frozen
class Manhole:
    """The shell: ``[manhole]``."""

    listen: Address = key(HostPort(), Address("127.0.0.1", 2222), "Where the shell listens for SSH.")
    authorized_keys: str = key(Text(), "", "File with the public keys that may log in.")


@attrs.frozen
class Metrics:
    """Prometheus: ``[metrics]``."""

    listen: Address = key(HostPort(), Address("127.0.0.1", 9100), "Where metrics are served over HTTP.")


@attrs.frozen
class Api:
    """The REST API and the page: ``[api]``."""

    listen: Address = key(HostPort(), Address("127.0.0.1", 8080), "Where the REST API listens.")
    tokens: str = key(Text(), "", "File with the tokens that may use it.")
    neighbours: bool = key(Flag(), False, "Whether stand-ins for Linode's other resources are served.")


@attrs.frozen
class Firewall:
    """Inbound rules: ``[firewall NAME]`` (R4)."""

    name: str
    inbound_policy: Policy = key(
        Choice(Policy), Policy.ACCEPT, "What happens to a connection that no rule names.", row="R4"
    )
    inbound: tuple[str, ...] = key(
        Lines(), (), "ACTION PROTOCOL PORTS ADDRESSES, one rule a line; the first that matches decides.", row="R4"
    )


@attrs.frozen
class Settings:
    """All that was asked for: one INI file.

    ``nodebalancers``, ``firewalls`` and what hangs below them are by name; manhole, metrics and api are None when
    their section is absent.
    """

    nodebalancers: Mapping[str, NodeBalancer] = attrs.field(factory=dict)
    firewalls: Mapping[str, Firewall] = attrs.field(factory=dict)
    service: Service = attrs.field(factory=Service)
    manhole: Manhole | None = None
    metrics: Metrics | None = None
    api: Api | None = None


NOTHING = Settings()
"""What runs before the first reload: start-up is a reload from here."""
