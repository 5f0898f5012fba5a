"""Every metric of ours: its name, its labels, and what it means.

Collector, docs, dashboard and alerts have them from here. A name is as in a query, with the unit and ``_total`` at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import attrs

from nodebalancer.balancing.member import Status
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.model import Mode

Kind = Literal["counter", "gauge", "histogram", "info"]
"""Prometheus' sorts; ``info`` is a gauge that is always 1."""


@attrs.frozen
class Family:
    """One metric: a name, and a series for each set of values of its labels.

    Attributes:
        name: As in a query; a histogram's series end in ``_bucket``, ``_sum`` and ``_count``.
        labels: Their names.
        meaning: A sentence, for HELP and the docs.
        http: Whether configs that speak tcp have none.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    http: bool = False


_NODEBALANCER = ("nodebalancer",)
_CONFIG = ("nodebalancer", "config")
_NODE = ("nodebalancer", "config", "node")

CONNECTIONS: Final = Family(
    "nodebalancer_connections_open", "gauge", _NODEBALANCER, "Client connections open now, over all ports."
)
CONNECTIONS_LIMIT: Final = Family(
    "nodebalancer_connections_limit", "gauge", _NODEBALANCER, "How many may be open: max_connections."
)
FIREWALLED: Final = Family(
    "nodebalancer_firewalled_total", "counter", _NODEBALANCER, "Connections refused by the firewall."
)
THROTTLED: Final = Family(
    "nodebalancer_throttled_total",
    "counter",
    _NODEBALANCER,
    "Connections refused because a client made too many a second: client_conn_throttle.",
)
CROWDED: Final = Family(
    "nodebalancer_crowded_total",
    "counter",
    _NODEBALANCER,
    "Connections refused because a client had too many at once: client_max_connections.",
)
PUSHED_OUT: Final = Family(
    "nodebalancer_pushed_out_total",
    "counter",
    _NODEBALANCER,
    "Connections without a whole request that had to make way for others at max_connections.",
)
PAUSES: Final = Family(
    "nodebalancer_accepting_pauses_total", "counter", _NODEBALANCER, "How often accepting paused at max_connections."
)

CONFIG_OPEN: Final = Family("nodebalancer_config_connections_open", "gauge", _CONFIG, "Client connections open now.")
CONFIG_TOTAL: Final = Family(
    "nodebalancer_config_connections_total",
    "counter",
    _CONFIG,
    "Client connections opened; with http and https each carries one request.",
)
CONFIG_ENDED: Final = Family(
    "nodebalancer_config_connections_ended_total",
    "counter",
    (*_CONFIG, "outcome"),
    "Client connections that have ended, by how they ended.",
)
CONFIG_RESPONSES: Final = Family(
    "nodebalancer_config_responses_total",
    "counter",
    (*_CONFIG, "class"),
    "Ended connections by the class of the status that the client got, of a node or of ours.",
    http=True,
)
CONFIG_RECEIVED: Final = Family(
    "nodebalancer_config_received_bytes_total",
    "counter",
    _CONFIG,
    "Bytes received from clients whose connections have ended.",
)
CONFIG_SENT: Final = Family(
    "nodebalancer_config_sent_bytes_total", "counter", _CONFIG, "Bytes sent to clients whose connections have ended."
)
CONFIG_DURATION: Final = Family(
    "nodebalancer_config_connection_duration_seconds",
    "histogram",
    _CONFIG,
    "From accept to end, of connections that have ended.",
)
CONFIG_REFUSED: Final = Family(
    "nodebalancer_config_refused_messages_total",
    "counter",
    (*_CONFIG, "rule"),
    "Requests of clients and responses of nodes that were refused, by the rule of HTTP that they broke.",
    http=True,
)

NODE_OPEN: Final = Family(
    "nodebalancer_node_connections_open", "gauge", _NODE, "Client connections that have the node now."
)
NODE_PICKS: Final = Family(
    "nodebalancer_node_picks_total",
    "counter",
    _NODE,
    "How often the node was picked; a connection picks another one when it cannot reach the first.",
)
NODE_ENDED: Final = Family(
    "nodebalancer_node_picks_ended_total", "counter", (*_NODE, "outcome"), "Picks that have ended, by how they ended."
)
NODE_RESPONSES: Final = Family(
    "nodebalancer_node_responses_total",
    "counter",
    (*_NODE, "class"),
    "The node's responses by the class of their status.",
    http=True,
)
NODE_RECEIVED: Final = Family(
    "nodebalancer_node_received_bytes_total",
    "counter",
    _NODE,
    "Bytes received from clients whose connections have ended with the node.",
)
NODE_SENT: Final = Family(
    "nodebalancer_node_sent_bytes_total",
    "counter",
    _NODE,
    "Bytes sent to clients whose connections have ended with the node.",
)
NODE_CONNECT: Final = Family(
    "nodebalancer_node_connect_duration_seconds",
    "histogram",
    _NODE,
    "From dialling the node to the connection, of connections that were made.",
)
NODE_FIRST_BYTE: Final = Family(
    "nodebalancer_node_response_duration_seconds",
    "histogram",
    _NODE,
    "From the connection to the head of the node's response, with the time that the client took to upload.",
    http=True,
)
NODE_UP: Final = Family("nodebalancer_node_up", "gauge", _NODE, "1 while the node is UP, else 0.")
NODE_STATUS: Final = Family(
    "nodebalancer_node_status", "gauge", (*_NODE, "status"), "1 for the node's status, 0 for the others."
)
NODE_MODE: Final = Family(
    "nodebalancer_node_mode", "gauge", (*_NODE, "mode"), "1 for the node's mode, 0 for the others."
)
NODE_WEIGHT: Final = Family("nodebalancer_node_weight", "gauge", _NODE, "Its weight.")
NODE_CHANGES: Final = Family(
    "nodebalancer_node_status_changes_total", "counter", _NODE, "Changes of the node's status."
)
NODE_CHANGED_AT: Final = Family(
    "nodebalancer_node_status_change_timestamp_seconds",
    "gauge",
    _NODE,
    "When its status changed last, or else when the node came; seconds since the epoch.",
)

RELOAD_SUCCEEDED: Final = Family(
    "nodebalancer_settings_last_reload_successful",
    "gauge",
    (),
    "1 when the last reload succeeded, or none was needed to run what the file says.",
)
RELOAD_SUCCEEDED_AT: Final = Family(
    "nodebalancer_settings_last_reload_success_timestamp_seconds",
    "gauge",
    (),
    "When the last good reload ended, or else the process began; seconds since the epoch.",
)
RELOADS: Final = Family(
    "nodebalancer_settings_reloads_total", "counter", ("result",), "Reloads, by whether they were a success or failure."
)
FILE_DIFFERS: Final = Family(
    "nodebalancer_settings_file_differs", "gauge", (), "1 while the file asks for something else than what runs."
)
CERTIFICATE_EXPIRY: Final = Family(
    "nodebalancer_certificate_expiry_timestamp_seconds",
    "gauge",
    (*_CONFIG, "file"),
    "When a certificate that is served expires; seconds since the epoch.",
)
STATUS_CHANGES: Final = Family(
    "nodebalancer_status_changes_total", "counter", (), "Changes of status of all nodes, of those too that have gone."
)
ACCESS_LOG_LOST: Final = Family(
    "nodebalancer_access_log_lost_lines_total", "counter", (), "Lines of the access log that could not be written."
)
LOOP_LAG: Final = Family(
    "nodebalancer_event_loop_lag_seconds",
    "histogram",
    (),
    "How much too late a timer came, measured four times a second: for so long everybody waited.",
)
BUILD: Final = Family("nodebalancer_build_info", "info", ("version", "twisted", "engine"), "What runs; always 1.")

CPU: Final = Family("process_cpu_seconds_total", "counter", (), "Processor time used, by us and by the kernel for us.")
RESIDENT: Final = Family("process_resident_memory_bytes", "gauge", (), "Memory occupied.")
VIRTUAL: Final = Family("process_virtual_memory_bytes", "gauge", (), "Address space.")
STARTED_AT: Final = Family(
    "process_start_time_seconds", "gauge", (), "When the process began; seconds since the epoch."
)
DESCRIPTORS: Final = Family("process_open_fds", "gauge", (), "Descriptors open now.")
DESCRIPTORS_MAX: Final = Family("process_max_fds", "gauge", (), "How many may be open.")

FAMILIES: Final[Mapping[str, tuple[Family, ...]]] = {
    "NodeBalancers": (CONNECTIONS, CONNECTIONS_LIMIT, FIREWALLED, THROTTLED, CROWDED, PUSHED_OUT, PAUSES),
    "Configs": (
        *(CONFIG_OPEN, CONFIG_TOTAL, CONFIG_ENDED, CONFIG_RESPONSES, CONFIG_RECEIVED, CONFIG_SENT, CONFIG_DURATION),
        CONFIG_REFUSED,
    ),
    "Nodes": (
        *(NODE_UP, NODE_STATUS, NODE_MODE, NODE_WEIGHT, NODE_CHANGES, NODE_CHANGED_AT, NODE_OPEN, NODE_PICKS),
        *(NODE_ENDED, NODE_RESPONSES, NODE_RECEIVED, NODE_SENT, NODE_CONNECT, NODE_FIRST_BYTE),
    ),
    "Settings, certificates, the process": (
        *(RELOAD_SUCCEEDED, RELOAD_SUCCEEDED_AT, RELOADS, FILE_DIFFERS, CERTIFICATE_EXPIRY, STATUS_CHANGES),
        *(ACCESS_LOG_LOST, LOOP_LAG, BUILD, CPU, RESIDENT, VIRTUAL, STARTED_AT, DESCRIPTORS, DESCRIPTORS_MAX),
    ),
}
"""All of them, by what they are about."""

OUTCOMES: Final = tuple(outcome.word for outcome in Outcome)
STATUSES: Final = tuple(status.value for status in Status)
MODES: Final = tuple(mode.value for mode in Mode)
CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")
RESULTS: Final = {True: "success", False: "failure"}
"""Values of labels."""
