"""From files to what serves the clients of a config."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodebalancer.certificates.loading import KEPT, Loaded, Serving, load
from nodebalancer.certificates.names import chosen
from nodebalancer.certificates.pair import DAY
from nodebalancer.certificates.selfsigned import self_signed
from nodebalancer.model import CipherSuite, PortConfig, Protocol
from nodebalancer.testing.builders import config

Issue = Callable[..., Any]


class Files:
    """A config with the files ``www.crt`` and ``www.key`` and the directory ``more``, and what came of loading it so far."""

    def __init__(self, directory: Path, issue: Issue) -> None:
        self.directory = directory
        self.issue = issue
        self.more = directory / "more"
        self.more.mkdir()
        self.issued = issue("www.example.org")
        self.cert, self.key = self.issued.write(directory)
        self.serving: Serving | None = None

    def config(self, **fields: Any) -> PortConfig:
        return config("secure", protocol=Protocol.HTTPS, ssl_cert=self.cert, ssl_key=self.key, **fields)

    def load(self, *, at: float | None = None, **fields: Any) -> Loaded:
        loaded = load(self.config(**fields), "www/secure", self.serving, lambda _: None, at or time.time())
        self.serving = loaded.serving or self.serving
        return loaded

    def load_all(self, **fields: Any) -> Loaded:
        return self.load(ssl_cert_dir=str(self.more), **fields)


@pytest.fixture
def files(tmp_path: Path, issue: Issue) -> Files:
    return Files(tmp_path, issue)


def good(loaded: Loaded) -> Serving:
    assert loaded.problems == ()
    assert loaded.warnings == ()
    assert loaded.serving is not None
    return loaded.serving


def told(remarks: Any) -> list[tuple[str, str]]:
    return [(one.key, one.message) for one in remarks]


def test_a_good_pair_is_served(files: Files) -> None:
    [certificate] = good(files.load()).certificates
    assert certificate.description == (
        f"certificate {files.cert}: valid for www.example.org; expires on {certificate.pair.last_day}"
    )


def test_what_is_served_first_must_be_good_and_everything_wrong_is_told(files: Files) -> None:
    Path(files.cert).write_bytes(b"")
    Path(files.key).unlink()
    loaded = files.load(ssl_cert_dir="/nowhere")
    assert loaded.serving is None
    assert told(loaded.problems) == [
        ("ssl_key", "there is no such file or directory"),
        ("ssl_cert_dir", "there is no such file or directory"),
    ]


def test_files_that_say_the_same_are_served_by_the_same_context(files: Files) -> None:
    first = good(files.load())
    files.issued.write(files.directory)
    assert good(files.load()).default is first.default


def test_a_renewed_pair_and_another_suite_get_a_new_context(files: Files) -> None:
    contexts = [good(files.load()).default.context]
    files.issue("www.example.org").write(files.directory)
    contexts.append(good(files.load()).default.context)
    contexts.append(good(files.load(cipher_suite=CipherSuite.LEGACY)).default.context)
    contexts.append(good(files.load_all(cipher_suite=CipherSuite.LEGACY)).default.context)
    assert len(set(contexts)) == 4


def test_a_half_renewed_pair_leaves_the_old_one_serving(files: Files) -> None:
    first = good(files.load())
    Path(files.cert).write_bytes(files.issue("www.example.org").cert)
    loaded = files.load()
    assert told(loaded.warnings) == [("ssl_key", f"does not belong to the certificate; {KEPT}")]
    assert loaded.serving is not None
    assert loaded.serving.default is first.default
    again = files.load()
    assert again.warnings == loaded.warnings
    Path(files.cert).write_bytes(files.issue("www.example.org").cert)
    assert files.load().warnings != loaded.warnings, "the files have changed, so it is news"


def test_files_that_vanish_leave_the_old_one_serving_even_with_another_suite(files: Files) -> None:
    first = good(files.load())
    Path(files.key).unlink()
    loaded = files.load(cipher_suite=CipherSuite.LEGACY)
    assert told(loaded.warnings) == [("ssl_key", f"there is no such file or directory; {KEPT}")]
    assert loaded.serving is not None
    assert loaded.serving.default.pair is first.default.pair
    assert loaded.serving.default.context is not first.default.context


def test_an_old_pair_that_the_wanted_suite_cannot_serve_is_a_problem(files: Files, small: Any) -> None:
    small.write(files.directory)
    good(files.load(cipher_suite=CipherSuite.LEGACY))
    Path(files.cert).unlink()
    [(key, message)] = told(files.load().problems)
    assert key == "ssl_cert"
    assert message.startswith("the certificate's key is too small")


def test_other_paths_are_served_first_so_they_must_be_good(files: Files, tmp_path: Path) -> None:
    good(files.load())
    files.cert = str(tmp_path / "other.crt")
    assert told(files.load().problems) == [("ssl_cert", "there is no such file or directory")]


def test_names_that_must_be_covered(files: Files) -> None:
    good(files.load(ssl_names=("www.example.org",)))
    loaded = files.load(ssl_names=("www.example.org", "shop.example"))
    message = "the certificate is not valid for shop.example, but for www.example.org"
    assert told(loaded.problems) == [("ssl_names", message)]
    files.issue("shop.example").write_one(files.more, "shop.pem")
    good(files.load_all(ssl_names=("www.example.org", "shop.example")))


def test_what_is_not_right_is_a_warning(files: Files) -> None:
    Path(files.key).chmod(0o604)
    end = good(load_with_strict_rights(files)).default.pair
    [exposed, expired] = told(files.load(at=end.expires_at + 1).warnings)
    assert exposed[0] == "ssl_key"
    assert "(mode 604)" in exposed[1]
    assert expired == ("ssl_cert", f"the certificate expired on {end.last_day}")


def load_with_strict_rights(files: Files) -> Loaded:
    mode = Path(files.key).stat().st_mode
    Path(files.key).chmod(0o600)
    loaded = files.load()
    Path(files.key).chmod(mode)
    return loaded


def test_the_end_is_news_once_for_each_step_though_the_sentence_changes_every_day(files: Files) -> None:
    end = good(files.load()).default.pair.expires_at
    [at_13], [at_12], [at_6] = (files.load(at=end - days * DAY).warnings for days in (13.5, 12.5, 6.5))
    assert at_13.message != at_12.message
    assert at_13.about == at_12.about
    assert at_12.about != at_6.about


def test_the_directory_serves_its_names(files: Files) -> None:
    files.issue("b.example", "www.example.org").write_one(files.more, "b.pem")
    files.issue("*.example.org").write_one(files.more, "a.pem")
    serving = good(files.load_all())
    wild, named = serving.others
    assert chosen(serving.by_name, b"b.example") is named.context
    assert chosen(serving.by_name, b"x.example.org") is wild.context
    assert chosen(serving.by_name, b"www.example.org") is serving.default.context, "the first that has it"


def test_a_bad_file_in_the_directory_is_a_problem_at_first_and_is_left_out_later(files: Files) -> None:
    bad = files.more / "bad.pem"
    bad.write_bytes(files.issued.cert)
    message = "bad.pem: has no private key in it, and there is no bad.key beside it"
    assert told(files.load_all().problems) == [("ssl_cert_dir", message)]
    bad.unlink()
    good(files.load_all())
    (files.more / "bad.key").write_bytes(b"broken")
    bad.write_bytes(files.issued.cert)
    loaded = files.load_all()
    assert loaded.problems == ()
    message = "key of bad.pem: is not PEM: it has no line -----BEGIN …-----; it is left out"
    assert told(loaded.warnings) == [("ssl_cert_dir", message)]


def test_files_of_the_directory_come_change_break_and_go_each_by_itself(files: Files) -> None:
    files.issue("a.example").write_one(files.more, "a.pem")
    files.issue("b.example").write_one(files.more, "b.pem")
    first = good(files.load_all())
    files.issue("a.example").write_one(files.more, "a.pem")
    second = good(files.load_all())
    assert second.default is first.default
    assert second.others[0] is not first.others[0]
    assert second.others[1] is first.others[1]
    (files.more / "a.pem").write_bytes(b"")
    third = files.load_all()
    assert third.serving is not None
    assert third.serving.others == second.others
    assert [one.key for one in third.warnings] == ["ssl_cert_dir"]
    (files.more / "a.pem").unlink()
    assert good(files.load_all()).others == second.others[1:]


def test_a_directory_that_vanishes_leaves_its_certificates_serving(files: Files) -> None:
    files.issue("a.example").write_one(files.more, "a.pem")
    first = good(files.load_all())
    shutil.rmtree(files.more)
    loaded = files.load_all()
    assert loaded.serving is not None
    assert loaded.serving.others == first.others
    assert [one.message for one in loaded.warnings] == [
        "there is no such file or directory; the certificates that were loaded before go on serving",
        f"a.pem: there is no such file or directory; {KEPT}",
    ]


def test_a_certificate_that_no_client_could_ask_for_is_told(files: Files) -> None:
    (files.more / "nameless.pem").touch(mode=0o600)
    (files.more / "nameless.pem").write_bytes(self_signed([], []))
    message = "nameless.pem: is valid for no name, so no client will get it"
    assert told(files.load_all().warnings) == [("ssl_cert_dir", message)]


def test_names_of_files_are_escaped(files: Files) -> None:
    files.issue("shop.example").write_one(files.more, "a\nb.pem")
    (files.more / "c\nd.pem").write_bytes(files.issue("other.example").cert)
    [(_, message)] = told(files.load_all().problems)
    assert message == "c\\x0ad.pem: has no private key in it, and there is no c\\x0ad.key beside it"
    (files.more / "c\nd.pem").unlink()
    assert "/more/a\\x0ab.pem: valid for shop.example;" in good(files.load_all()).others[0].description
