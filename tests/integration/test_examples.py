"""What the documents have people write and type does what they say.

``ini`` blocks are read as settings. Commands are run in their order by a real shell, with free ports and directories of the test
instead of those shown (the stage of each page has the list); what they print is compared, but for what differs from run to run
(``VARIES``); one that shows nothing has to succeed. What is not run stands in ``NOT_RUN`` or ``BLOCKS_NOT_RUN`` with the reason; nothing may be in neither.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from nodebalancer.settings import load
from nodebalancer.testing.documents import Block, blocks, documents, steps
from nodebalancer.testing.nodes import ROOT, free_port, nginx, wait_until
from nodebalancer.testing.stages import BIN, Stage

pytestmark = pytest.mark.integration

NOT_RUN = {
    r"make demo": "integration/test_demo.py runs it",
    r"make \w+.*": "we are in the middle of it, or it takes minutes",
    r"apt-get .*|systemd-sysusers|cp etc/.*|install -D .*|certbot .*": "changes the machine",
    r"ch(own|grp) .*|install .*-[go] .*": "needs root; integration/test_privileges.py gives rights up for real",
    r"/usr/bin/python3 -m venv .*|\S+/pip (install|show) .*": "takes a minute; integration/test_wheel.py does it",
    r"systemctl (daemon-reload|(status|restart|stop|start|enable) [\w. ]+|reload prometheus)|journalctl .*": "needs systemd; integration/test_upgrade.py plays its part",
    r"twistd .*--uid=.*": "needs root; integration/test_privileges.py runs it",
    r"pkill -(HUP|USR1) .*": "integration/test_logrotate.py does it, and test_reload.py",
    r"git .*": "would make this clone another",
    r"rsync .*|while sleep .*|keepalived .*|ip -br .*|systemctl kill .*": "needs two machines; proof/test_ha.py has them",
    r"editor .*|promtool check config .*": "is about the reader's own file",
    r"ssh -J .* reload|ssh .* && rsync .*": "needs two machines; docs/getting-started.rst has the shell reload",
    r"openssl s_client .*": "asks a host that is the reader's",
    r"goaccess .*": "integration/test_access_log.py has it read our lines",
}
"""Commands (as regular expressions for the whole of them), and why nobody runs them here."""

BLOCKS_NOT_RUN = {
    ("docs/metrics.rst", "yaml"): "for Prometheus; house/test_metrics_files.py has promtool look at what is shipped",
    ("docs/manhole.rst", "pycon"): "integration/test_manhole.py types into the shell",
    ("docs/performance.rst", "sh"): "benchmarks take minutes; house/test_benchmarks.py holds their options",
}

RECIPES = {
    "apache-remoteip.conf": "integration/test_recipes.py",
    "nginx-real-ip.conf": "integration/test_recipes.py",
    "every-key.ini": "house/test_ini.py",
    "mistakes.ini": "house/test_ini.py",
}
"""The files of docs/recipes, and who tries them."""

RUN = {"ini", "console", "sh"}
SEEN = {"text", "json"}
"""Languages of code blocks: what is read or run here, and what somebody sees and nobody types."""

VARIES = {
    r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT": "DATE",
    r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?": "DAY",
    r"(Python|nginx)/[\d.]+": r"\1/VERSION",
    r", of \d+ MiB available: .*": ", of some",
    r", with a limit of \d+.*": ", with some limit",
    r", of \d+ towards its nodes: .*": ", of some",
}
"""What differs from run to run or from machine to machine, and what is compared instead."""

FRAME = """
[nodebalancer www]
[config www/web]
port = 80
[nodes www/web]
app-1 = 192.168.1.10:8080
"""
"""What an example is read with that shows no NodeBalancer."""


def same_everywhere(text: str) -> str:
    for pattern, instead in VARIES.items():
        text = re.sub(pattern, instead, text)
    return text.rstrip("\n")


def first_steps(stage: Stage) -> None:
    """Small files on ports of loopback."""
    stage.instead(".venv/bin", str(BIN))
    for port in (8080, 8081, 8082):
        stage.port(port)


def getting_started(stage: Stage) -> None:
    """And later nginx for nodes, a certificate as certbot leaves it, and names that curl finds here."""
    serving = "location / {{ return 200 '{}\n'; }}"
    for number, host in ((1, "192.168.1.10"), (2, "192.168.1.11")):
        program, port = nginx(stage.directory, serving.format(f"app-{number}"), name=f"app-{number}.nginx")
        stage.programs.enter_context(program)
        stage.instead(f"{host}:8080", f"127.0.0.1:{port}")
    plain, secure = free_port(), free_port()
    stage.inwards |= {"listen = 0.0.0.0, ::": "listen = 127.0.0.1, 127.0.0.2"}
    stage.inwards |= {"port = 80": f"port = {plain}", "port = 443": f"port = {secure}"}
    stage.outwards |= {f"127.0.0.1:{plain}": "0.0.0.0:80", f"127.0.0.2:{plain}": "[::]:80"}
    stage.outwards |= {f"127.0.0.1:{secure}": "0.0.0.0:443", f"127.0.0.2:{secure}": "[::]:443"}
    stage.outwards |= {f"www.example.org:{secure}": "www.example.org", f"port {secure}": "port 443"}
    stage.port(9100)
    way_in(stage)
    letsencrypt = stage.directory / "letsencrypt"
    stage.instead("/etc/letsencrypt", str(letsencrypt))
    authority = as_certbot(letsencrypt, "www.example.org")
    with (stage.directory / ".curlrc").open("a") as curlrc:
        curlrc.write(f"cacert = {authority}\n")
        curlrc.write(f"connect-to = www.example.org:80:127.0.0.1:{plain}\n")
        curlrc.write(f"connect-to = www.example.org:443:127.0.0.1:{secure}\n")
    first_steps(stage)


def way_in(stage: Stage) -> None:
    """A key that may log in, and an ssh that uses it for the shell."""
    key, config = stage.directory / "key", stage.directory / "ssh_config"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (stage.etc / "authorized_keys").write_bytes(key.with_suffix(".pub").read_bytes())
    options = {"Port": stage.port(2222), "User": "anybody", "IdentityFile": key, "HostName": "127.0.0.1"}
    options |= {"StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR"}
    config.write_text("Host lb 127.0.0.1\n" + "".join(f"{name} {value}\n" for name, value in options.items()))
    stage.inwards |= {f"ssh {typed}": f"ssh -F {config} {typed}" for typed in ("lb", "-T lb", "-p")}


def as_certbot(directory: Path, name: str) -> Path:
    """A certificate where certbot would put it; the file that says whom to trust."""
    authority = trustme.CA()
    pair = authority.issue_cert(name)
    live, archive = directory / "live" / name, directory / "archive" / name
    for place in (live, archive):
        place.mkdir(parents=True)
    for file in ("privkey", "fullchain"):
        (archive / f"{file}1.pem").touch(0o600)
        (live / f"{file}.pem").symlink_to(archive / f"{file}1.pem")
    pair.private_key_pem.write_to_path(archive / "privkey1.pem")
    (archive / "fullchain1.pem").write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    authority.cert_pem.write_to_path(directory / "ca.pem")
    return directory / "ca.pem"


OPERATED = """\
[nodebalancer www]
listen = 0.0.0.0
[config www/web]
port = 80
[nodes www/web]
app-1 = 192.168.1.10:8080
app-2 = 192.168.1.11:8080
"""


WATCHED = """\
[service]
access_log = /var/log/nodebalancer/access.log
[metrics]
listen = 127.0.0.1:9100
[manhole]
listen = 127.0.0.1:2222
authorized_keys = /etc/nodebalancer/authorized_keys
[nodebalancer www]
listen = 127.0.0.1
[config {config}]
port = 22080
[nodes {config}]
app-1 = 127.0.0.1:{one}
app-2 = 127.0.0.1:{two}
app-3 = 127.0.0.1:{gone}
"""


def operations(stage: Stage) -> None:
    """A file that runs, and the next one."""
    plain = free_port()
    stage.inwards["port = 80"] = f"port = {plain}"
    stage.outwards |= {f"127.0.0.1:{plain}": "0.0.0.0:80", f"port: {plain}": "port: 80"}
    stage.instead("0.0.0.0", "127.0.0.1")
    stage.port(8080)
    command, file = "twistd nodebalancer", stage.etc / "nodebalancer.ini"  # where it looks by itself
    stage.inwards[f"{command} --check"] = f"{command} --config {file} --check"
    for name in ("/etc/nodebalancer/nodebalancer.ini", "FILE"):
        stage.write(name, OPERATED)
    stage.write("next.ini", OPERATED.replace("port = 80", "port = 8080").replace("app-2 = 192.168.1.11:8080\n", ""))


def manhole(stage: Stage, config: str = "www/plain") -> None:
    """Three nodes, of which one is not there, and a key that may log in."""
    way_in(stage)
    (one, first), (other, second) = (nginx(stage.directory, "return 204;", name=f"app-{n}.nginx") for n in (1, 2))
    stage.programs.enter_context(one)
    stage.programs.enter_context(other)
    stage.port(9100)
    stage.port(22080)
    nodes = {"one": first, "two": second, "gone": free_port()}
    file = "/etc/nodebalancer/nodebalancer.ini"
    stage.write(file, WATCHED.format(config=config, **nodes))
    stage.type(f"twistd -n nodebalancer --config {file}")
    balancer, _ = stage.jobs[1]
    for seen in ("app-1 is UP", "app-2 is UP", "app-3 is DOWN"):
        wait_until(lambda seen=seen: seen in balancer.output, seen)  # type: ignore[misc]


def metrics(stage: Stage) -> None:
    """The first settings of the page run, and their node is UP."""
    program, node = nginx(stage.directory, "return 204;")
    stage.programs.enter_context(program)
    stage.inwards |= {"[nodebalancer www]": "[nodebalancer www]\nlisten = 127.0.0.1"}
    stage.inwards |= {"port = 80": f"port = {free_port()}", "192.168.1.10:8080": f"127.0.0.1:{node}"}
    stage.port(9100)
    stage.write("running.ini", PAGES["docs/metrics.rst"][0].text)
    stage.type("twistd -n nodebalancer --config running.ini")
    balancer, _ = stage.jobs[1]
    wait_until(lambda: "app-1 is UP" in balancer.output, "a good probe")


def tls(stage: Stage) -> None:
    """What certbot has, and whom it asks after a renewal."""
    (stage.etc / "certs").mkdir()
    (stage.etc / "www.key").touch()
    as_certbot(stage.directory / "letsencrypt", "www.example.org")
    stage.environment["RENEWED_LINEAGE"] = str(stage.directory / "letsencrypt/live/www.example.org")


def man_page(stage: Stage) -> None:
    """What somebody does day by day who knows the rest."""
    manhole(stage, "www/web")
    stage.write("next.ini", (stage.etc / "nodebalancer.ini").read_text())


STAGES: dict[str, Callable[[Stage], None]] = {
    "README.rst": first_steps,
    "docs/getting-started.rst": getting_started,
    "docs/manhole.rst": manhole,
    "docs/metrics.rst": metrics,
    "docs/nodebalancer.8.rst": man_page,
    "docs/operations.rst": operations,
    "docs/tls.rst": tls,
    "docs/troubleshooting.rst": manhole,
}
"""What has to be there before the commands of a page; other pages begin in an empty directory."""

PAGES = {str(path.relative_to(ROOT)): list(blocks(path)) for path in documents()}
TYPED = {page: found for page, found in PAGES.items() if {block.language for block in found} & {"console", "sh"}}


def reason_not_to_run(command: str) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.fullmatch(pattern, command)), None)


@pytest.mark.parametrize(
    "block",
    [block for found in PAGES.values() for block in found if block.language == "ini"],
    ids=lambda block: block.place,
)
def test_settings_that_are_shown_can_be_used(block: Block) -> None:
    text = block.text if "[nodebalancer " in block.text else block.text + FRAME
    assert load(text, block.place).nodebalancers


@pytest.mark.parametrize("page", TYPED)
def test_what_a_page_has_people_type_prints_what_it_shows(page: str, tmp_path: Path) -> None:
    with ExitStack() as programs:
        stage = Stage(tmp_path, programs)
        STAGES.get(page, lambda stage: None)(stage)
        for block in PAGES[page]:
            if block.file:
                stage.write(block.file, block.text)
            elif block.language == "sh" and (page, "sh") not in BLOCKS_NOT_RUN:
                assert stage.type(block.text) == ""
                assert stage.status == 0
            for step in steps(block.text) if block.language == "console" else []:
                if reason_not_to_run(step.command) is None:
                    printed = stage.type(step.command)
                    if step.output:
                        assert same_everywhere(step.output) == same_everywhere(printed), step.command
                    else:
                        assert stage.status == 0, (step.command, printed)
        for job, _ in stage.jobs.values():
            assert job.running, job.output
            assert "Traceback" not in job.output


def test_the_deploy_hook_leaves_one_file_with_certificate_and_key(tmp_path: Path) -> None:
    [hook] = (block for block in PAGES["docs/tls.rst"] if block.language == "sh")
    with ExitStack() as programs:
        stage = Stage(tmp_path, programs)
        tls(stage)
        stage.type(hook.text)
    [file] = (tmp_path / "etc/certs").iterdir()
    assert file.name == "www.example.org.pem"
    assert file.read_text().count("BEGIN") == 2


def test_every_block_is_run_or_read_or_listed_with_a_reason() -> None:
    found = {(page, block.language) for page, of_page in PAGES.items() for block in of_page}
    assert {(page, language) for page, language in found if language not in RUN | SEEN} <= BLOCKS_NOT_RUN.keys()
    assert BLOCKS_NOT_RUN.keys() <= found


def test_no_command_stands_where_it_is_not_found() -> None:
    for path in documents():
        found = sum(block.text.count("\n$ ") + block.text.startswith("$ ") for block in blocks(path))
        assert len(re.findall(r"^ *\$ ", path.read_text(), re.MULTILINE)) == found, path


def test_every_recipe_is_tried() -> None:
    assert {path.name for path in (ROOT / "docs/recipes").iterdir()} == RECIPES.keys()
    assert [name for name, test in RECIPES.items() if name not in (ROOT / "tests" / test).read_text()] == []


def test_nothing_is_listed_that_nobody_types() -> None:
    typed = [
        step.command
        for found in PAGES.values()
        for block in found
        if block.language == "console"
        for step in steps(block.text)
    ]
    assert [pattern for pattern in NOT_RUN if not any(re.fullmatch(pattern, command) for command in typed)] == []
