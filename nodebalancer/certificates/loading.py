"""From the files that a config names to what serves its clients, at a start, at a reload and at each look.

What serves already is never given up for files that cannot be used: a renewal may be half done, and after root's rights were
given up a key may not be readable any more. Then the certificate from before goes on serving and a warning says so. Only
what would be served for the first time has problems. What the files say as before stays the same object: a context has the
sessions and ticket keys of clients in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable

import attrs
from OpenSSL import SSL

from nodebalancer.certificates.contexts import make_context
from nodebalancer.certificates.files import Material, Source, sources_in
from nodebalancer.certificates.names import ContextsByName, contexts_by_name, covers
from nodebalancer.certificates.pair import Pair, pair_of
from nodebalancer.errors import CertificateError
from nodebalancer.model import CipherSuite, PortConfig
from nodebalancer.wire.http1.lines import escaped

Recipe = tuple[CipherSuite, bool]
"""What a context depends on besides its pair: the suite, and whether clients choose by name."""

KEPT = "the certificate that was loaded before goes on serving"


@attrs.frozen
class Remark:
    """Something to be told about a config's certificates.

    Attributes:
        key: The INI key that it is about.
        message: What is to be told.
        about: Stays equal as long as it is no news, though the message may change.
    """

    key: str
    message: str
    about: Hashable


@attrs.frozen(eq=False)
class Certificate:
    """A certificate at work.

    Attributes:
        source: Its files.
        digest: Of what they said.
        pair: What they said.
        recipe: How the context was made.
        context: What serves it.
    """

    source: Source
    digest: bytes
    pair: Pair
    recipe: Recipe
    context: SSL.Context

    @property
    def description(self) -> str:
        """For people: the file, the names it is valid for and its last day."""
        file = escaped(os.fsencode(self.source.cert))
        return f"certificate {file}: valid for {self.pair.names_told}; expires on {self.pair.last_day}"


@attrs.frozen(eq=False)
class Serving:
    """All that one config serves with.

    Attributes:
        default: For clients that ask for no name, or for one that nobody has.
        directory: ``ssl_cert_dir``.
        others: The certificates in it that can be used, by the names of their files.
        by_name: Who serves which name; empty without ``directory``.
    """

    default: Certificate
    directory: str
    others: tuple[Certificate, ...]
    by_name: ContextsByName

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        return (self.default, *self.others)


@attrs.frozen(eq=False)
class Loaded:
    """What came of it: ``serving`` is None exactly when there are problems."""

    serving: Serving | None
    problems: tuple[Remark, ...]
    warnings: tuple[Remark, ...]


def load(
    config: PortConfig,
    name: str,
    before: Serving | None,
    choose: Callable[[SSL.Connection], None],
    at: float,
) -> Loaded:
    """Read and judge the files of an https config. Touches nothing else, so it may run in a thread.

    Args:
        config: What is wanted.
        name: ``www/secure``.
        before: What serves it now, if anything.
        choose: Leads a connection to the context for its name; used with ``ssl_cert_dir``.
        at: The time, seconds since the epoch.
    """
    return _Loading(config, name, before, choose, at).run()


class _Loading:
    def __init__(
        self,
        config: PortConfig,
        name: str,
        before: Serving | None,
        choose: Callable[[SSL.Connection], None],
        at: float,
    ) -> None:
        self.config = config
        self.name = name
        self.before = before
        self.choose = choose if config.ssl_cert_dir else None
        self.at = at
        self.recipe: Recipe = (config.cipher_suite, self.choose is not None)
        self.known = {one.source: one for one in before.certificates} if before else {}
        self.problems: list[Remark] = []
        self.warnings: list[Remark] = []

    def run(self) -> Loaded:
        default = self.certificate(Source(self.config.ssl_cert, self.config.ssl_key))
        others = tuple(filter(None, map(self.certificate, self.sources())))
        serving = None
        if default is not None:
            self.check_names((default, *others))
        if default is not None and not self.problems:
            pairs = ((one.pair, one.context) for one in (default, *others))
            by_name = contexts_by_name(pairs) if self.config.ssl_cert_dir else {}
            serving = Serving(default, self.config.ssl_cert_dir, others, by_name)
        return Loaded(serving, tuple(self.problems), tuple(self.warnings))

    def sources(self) -> Iterable[Source]:
        """Of the directory; when it cannot be read any more, those from before."""
        directory = self.config.ssl_cert_dir
        if not directory:
            return ()
        try:
            return sources_in(directory)
        except CertificateError as e:
            [(key, message)] = e.flaws
            if self.before is None or self.before.directory != directory:
                self.problems.append(Remark(key, message, message))
                return ()
            kept = f"{message}; the certificates that were loaded before go on serving"
            self.warnings.append(Remark(key, kept, message))
            return tuple(one.source for one in self.before.others)

    def certificate(self, source: Source) -> Certificate | None:
        known = self.known.get(source)
        material: Material | None = None
        found: Certificate | None
        try:
            material = source.read()
            found = self.used_again(known, material.digest) or self.made(
                source, material.digest, pair_of(material.cert, material.key)
            )
        except CertificateError as e:
            found = self.kept(source, known, e, material.digest if material else None)
        if found is not None:
            self.look_over(found, material.exposed if material else "")
        return found

    def used_again(self, known: Certificate | None, digest: bytes) -> Certificate | None:
        return known if known and (known.digest, known.recipe) == (digest, self.recipe) else None

    def made(self, source: Source, digest: bytes, pair: Pair) -> Certificate:
        context = make_context(pair, self.config.cipher_suite, self.name, self.choose)
        return Certificate(source, digest, pair, self.recipe, context)

    def kept(
        self, source: Source, known: Certificate | None, error: CertificateError, digest: bytes | None
    ) -> Certificate | None:
        """What there is when the files cannot be used."""
        in_directory = not source.key
        if known is not None:
            try:
                known = self.used_again(known, known.digest) or self.made(source, known.digest, known.pair)
            except CertificateError as e:  # no use with the suite that is wanted now
                self.problems += self.remarks(source, e.flaws, "", digest)
                return None
            self.warnings += self.remarks(source, error.flaws, f"; {KEPT}", digest)
        elif in_directory and self.before is not None and self.before.directory == self.config.ssl_cert_dir:
            self.warnings += self.remarks(source, error.flaws, "; it is left out", digest)
        else:
            self.problems += self.remarks(source, error.flaws, "", digest)
        return known

    def look_over(self, certificate: Certificate, exposed: str) -> None:
        """What is not right and yet no reason not to serve it."""
        flaws = []
        if exposed:
            flaws.append(("ssl_key", exposed, exposed))
        lifetime = certificate.pair.lifetime_warning(self.at)
        if lifetime is not None:
            flaws.append(("ssl_cert", lifetime[1], lifetime[0]))
        if not certificate.source.key and not certificate.pair.names:
            flaws.append(("ssl_cert", "is valid for no name, so no client will get it", "nameless"))
        for key, message, about in flaws:
            self.warnings += self.remarks(certificate.source, ((key, message),), "", (certificate.digest, about))

    def remarks(self, source: Source, flaws: Iterable[tuple[str, str]], more: str, about: Hashable) -> Iterable[Remark]:
        """Flaws with the key that the operator wrote: those of a file in the directory are about the directory.

        What cannot be read has nothing that it could be ``about`` but what is wrong with it.
        """
        for key, message in flaws:
            if source.key:
                yield Remark(key, message + more, about or message)
            else:
                file = escaped(os.fsencode(os.path.basename(source.cert)))
                place = f"key of {file}" if key == "ssl_key" else file
                yield Remark("ssl_cert_dir", f"{place}: {message}{more}", (place, about or message))

    def check_names(self, certificates: tuple[Certificate, ...]) -> None:
        for name in self.config.ssl_names:
            if not any(covers(one.pair, name) for one in certificates):
                message = f"the certificate is not valid for {name}, but for {certificates[0].pair.names_told}"
                self.problems.append(Remark("ssl_names", message, (name, certificates[0].digest)))
