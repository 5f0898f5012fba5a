"""What a setting may be: kinds of values, and the metadata that makes an attrs field a key of the INI file.

A key is declared once, in ``model``, with its kind, default and sentence; the INI reader and writer, the messages of
``--check`` and the reference in the docs are all driven from there. Everything here is pure.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import attrs

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Address(NamedTuple):
    """A numeric IP address, or a host name where one is allowed, and a port. Being a tuple it is what sockets take.

    Attributes:
        host: ``192.0.2.1``, ``2001:db8::1`` (no brackets) or ``origin.internal``.
        port: 0 to 65535; 0 asks for a free port, which only tests and the demo do.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_name(self) -> bool:
        """Whether ``host`` is a name and no numeric address, of which no name has the form."""
        return ":" not in self.host and not re.fullmatch(r"[0-9.]+", self.host)


class Kind(Generic[T]):
    """One kind of value: from text and back.

    Attributes:
        expected: A phrase that completes "expected …": ``a whole number from 1 to 255``.
        values: All values of a kind that has only a few, else empty.
    """

    expected: str = ""
    values: Iterable[T] = ()

    def read(self, text: str) -> T:
        """The value that ``text`` (stripped, maybe empty) stands for.

        Raises:
            ValueError: With a sentence for the operator; caught by ``settings``, which adds file, line, section, key.
        """
        raise ValueError(f"expected {self.expected}")

    def write(self, value: T) -> str:
        """The text that ``read`` turns into ``value`` again."""
        return str(value)


class Integer(Kind[int]):
    """A whole number in a range, both ends included. ``unit`` is a plural noun or empty."""

    def __init__(self, low: int, high: int, unit: str = "") -> None:
        self.low, self.high, self.unit = low, high, unit
        of = f" {unit}" if unit else ""
        self.expected = f"a whole number from {low} to {high}{of}"

    def read(self, text: str) -> int:
        if not re.fullmatch(r"-?[0-9]+", text, re.ASCII):
            raise ValueError(f"not a whole number; expected {self.expected}")
        # Python refuses to convert thousands of digits; eighteen are more than any range here has.
        value = int(text) if len(text) <= 18 else self.high + 1
        if not self.low <= value <= self.high:
            raise ValueError(f"not between {self.low} and {self.high}{' ' + self.unit if self.unit else ''}")
        return value


class Flag(Kind[bool]):
    """``true`` or ``false``."""

    expected = "true or false"
    values = (True, False)

    def read(self, text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError("expected true or false")
        return text == "true"

    def write(self, value: bool) -> str:
        return "true" if value else "false"


E_ = TypeVar("E_", bound=enum.Enum)


class Choice(Kind[E_]):
    """One of the values of an enum, spelt as the enum spells them (which is as Linode spells them)."""

    def __init__(self, values: type[E_]) -> None:
        self.values: type[E_] = values
        self.expected = "one of " + ", ".join(str(v.value) for v in values)

    def read(self, text: str) -> E_:
        for value in self.values:
            if value.value == text:
                return value
        raise ValueError(f"expected {self.expected}")

    def write(self, value: E_) -> str:
        return str(value.value)


class Text(Kind[str]):
    """Any text on one line, at most ``longest`` characters, no control characters; may be empty."""

    def __init__(self, longest: int = 4096, expected: str = "text") -> None:
        self.longest = longest
        self.expected = f"{expected}, at most {longest} characters"

    def read(self, text: str) -> str:
        if len(text) > self.longest:
            raise ValueError(f"{len(text)} characters long; expected at most {self.longest}")
        if not text.isprintable():
            raise ValueError("has characters that cannot be printed")
        return text


class Pattern(Text):
    """Text that has to match a regular expression as a whole, or be empty."""

    def __init__(self, pattern: str, expected: str, longest: int = 4096) -> None:
        super().__init__(longest, expected)
        self.pattern = re.compile(pattern, re.ASCII)

    def read(self, text: str) -> str:
        if text and not self.pattern.fullmatch(super().read(text)):
            raise ValueError(f"expected {self.expected}")
        return text


def _host(text: str) -> str:
    """``text`` as the canonical spelling of a numeric IP address; ``::ffff:192.0.2.1`` is ``192.0.2.1``. Raises ValueError."""
    address = ipaddress.ip_address(text)
    return str(getattr(address, "ipv4_mapped", None) or address)


HOST_NAME = re.compile(r"(?=.{1,253}\Z)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?)+", re.ASCII)


class IPAddress(Kind[str]):
    """A numeric IPv4 or IPv6 address without port, brackets or zone."""

    expected = "an IP address such as 192.0.2.1 or 2001:db8::1"

    def read(self, text: str) -> str:
        try:
            if "%" in text:
                raise ValueError
            return _host(text)
        except ValueError:
            raise ValueError(f"not an IP address; expected {self.expected}") from None


class HostPort(Kind[Address]):
    """An address with a port. ``names``: whether a host name may stand in place of the IP address."""

    def __init__(self, *, names: bool = False) -> None:
        self.names = names
        self.expected = "ADDRESS:PORT such as 192.0.2.1:8080 or [2001:db8::1]:8080" + (
            " or host.name:80" if names else ""
        )

    def read(self, text: str) -> Address:
        match = re.fullmatch(r"(?:\[([^\[\]%]*:[^\[\]%]*)\]|([^\[\]:%]+)):([0-9]{1,5})", text, re.ASCII)
        if not match:
            raise ValueError(f"expected {self.expected}")
        port = int(match[3])
        if not 1 <= port <= 65535:
            raise ValueError(f"port {port} is not between 1 and 65535")
        try:
            return Address(_host(match[1] or match[2]), port)
        except ValueError:
            # What looks like a number and is none (10.0.0.300) is a slip, not a host name.
            name = match[2] or ""
            if self.names and HOST_NAME.fullmatch(name) and not re.fullmatch(r"[0-9.]+", name):
                return Address(name.lower(), port)
            raise ValueError(f"{match[1] or name!r} is not an IP address; expected {self.expected}") from None


class CIDR(Kind[Network]):
    """A network such as ``192.0.2.0/24``; an address alone is a network of one.

    IPv4 written as IPv6 is IPv4, as clients are: ``::ffff:192.0.2.0/120`` is ``192.0.2.0/24``.
    """

    expected = "a network such as 192.0.2.0/24 or 2001:db8::/32"

    def read(self, text: str) -> Network:
        try:
            if "%" in text:
                raise ValueError
            interface = ipaddress.ip_interface(text)
        except ValueError:
            raise ValueError(f"not a network; expected {self.expected}") from None
        if interface.ip != interface.network.network_address:
            raise ValueError(f"an address inside a network; the network is {interface.network}")
        return _unmapped(interface.network)


_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def _unmapped(network: Network) -> Network:
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        return ipaddress.ip_network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


class ListOf(Kind[tuple[T, ...]]):
    """Values separated by commas, and by line ends where the key may go on in indented lines; may be empty."""

    def __init__(self, item: Kind[T], *, at_least: int = 0) -> None:
        self.item, self.at_least = item, at_least
        self.expected = f"a list (with commas) of: {item.expected}"

    def read(self, text: str) -> tuple[T, ...]:
        parts = [part.strip() for part in re.split(r"[,\n]", text)]
        values, wrong = [], []
        for part in filter(None, parts):
            try:
                values.append(self.item.read(part))
            except ValueError as e:
                wrong.append(f"{part!r}: {e}")
        if wrong:
            raise ValueError("; ".join(wrong))
        if len(values) < self.at_least:
            raise ValueError(f"expected {self.expected}")
        if len(set(values)) < len(values):
            raise ValueError("the same value is listed twice")
        return tuple(values)

    def write(self, value: tuple[T, ...]) -> str:
        return ", ".join(map(self.item.write, value))


class Lines(Kind[tuple[str, ...]]):
    """One entry a line, kept as text."""

    expected = "one entry a line"

    def read(self, text: str) -> tuple[str, ...]:
        lines = tuple(" ".join(line.split()) for line in text.split("\n") if line.strip())
        for line in lines:
            if line[0] in "#;":
                raise ValueError(f"{line!r} looks like a comment; comments stand on lines of their own")
            if not line.isprintable():
                raise ValueError(f"{line!r} has characters that cannot be printed")
        return lines

    def write(self, value: tuple[str, ...]) -> str:
        return "\n".join(value)


class Maybe(Kind[T | None]):
    """Another kind, or nothing: the empty text is None."""

    def __init__(self, kind: Kind[T]) -> None:
        self.kind = kind
        self.expected = f"{kind.expected}, or nothing"

    def read(self, text: str) -> T | None:
        return self.kind.read(text) if text else None

    def write(self, value: T | None) -> str:
        return "" if value is None else self.kind.write(value)


@attrs.frozen
class Key:
    """What makes an attrs field a key of the INI file.

    Attributes:
        kind: Reads and writes its values.
        doc: One sentence for the reference: meaning and unit.
        available: Which values this version can do; any other is refused with "not available yet". None: all.
        row: The requirement it serves (``R5``), or empty.
    """

    kind: Kind[Any]
    doc: str
    available: Callable[[Any], bool] | None = None
    row: str = ""

    @property
    def continues(self) -> bool:
        """Whether the value may go on in indented lines."""
        return isinstance(self.kind, ListOf | Lines)


_KEY = "nodebalancer.key"


def key(
    kind: Kind[Any], default: Any, doc: str, *, available: Callable[[Any], bool] | None = None, row: str = ""
) -> Any:
    """An attrs field that is a key of the INI file."""
    return attrs.field(default=default, metadata={_KEY: Key(kind, doc, available, row)})


def only(*values: Any) -> Callable[[Any], bool]:
    """For ``available``: these values and no others."""
    return lambda value: value in values


def keys_of(cls: type) -> dict[str, tuple[attrs.Attribute[Any], Key]]:
    """The keys of a model class in the order of declaration: name to (attrs field, Key)."""
    return {a.name: (a, a.metadata[_KEY]) for a in attrs.fields(cls) if _KEY in a.metadata}
