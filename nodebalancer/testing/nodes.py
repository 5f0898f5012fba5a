"""Real programs for tests: nginx and redis as nodes, and ourselves under twistd.

Each is started on loopback with a configuration that the test writes, is waited for until it answers, and is ended by its
process id. Ports are below 32000: a dial to a dead port in the range that systems give out by themselves can connect to itself.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"

HANG_SECONDS = 30.0
"""Whatever takes longer has failed; far beyond what anything here takes."""

ROOT = Path(__file__).resolve().parents[2]
"""Where ``nodebalancer`` and ``twisted/plugins`` are."""

_given: set[int] = set()


def free_port(host: str = LOOPBACK) -> int:
    """A port from 20000 to 31999 that nobody listens on and that was not given before."""
    while True:
        port = 20000 + secrets.randbelow(12000)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            _given.add(port)
            return port


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Return as soon as ``happened()``.

    Raises:
        AssertionError: It did not within ``HANG_SECONDS``; ``what`` says what was waited for.
    """
    deadline = time.monotonic() + HANG_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def answers(port: int, host: str = LOOPBACK) -> bool:
    """Whether somebody accepts connections on ``port``."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        return probe.connect_ex((host, port)) == 0


def ended(pid: int) -> bool:
    """Whether a process has ended, though perhaps nobody has asked for its exit status yet (containers may lack an init)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Program:
    """A program started by a test. Use it in a ``with`` statement, which ends it.

    Args:
        argv: What to run.
        directory: Where it runs, and where its output goes, to ``NAME.out``.
        name: For the output and messages.
        ports: It is ready when it answers on all of these.

    Attributes:
        pid: Its process id.
    """

    def __init__(
        self,
        argv: Sequence[str],
        directory: Path,
        name: str,
        ports: Iterable[int] = (),
        environment: Mapping[str, str] | None = None,
        descriptors: Iterable[int] = (),
    ) -> None:
        self._out = directory / f"{name}.out"
        with self._out.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603 the tests' own command lines
                argv,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=tuple(descriptors),
            )
        self.pid = self._process.pid
        try:
            for port in ports:
                wait_until(lambda port=port: self._ready(port), f"{name} on port {port}")  # type: ignore[misc]
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def output(self) -> str:
        """What it has written so far, to standard output and error."""
        return self._out.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def children(self) -> list[int]:
        """Process ids of its children."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def descriptors(self) -> Counter[str]:
        """What it has open right now: how many ``socket``, ``pipe``, ``anon_inode``, and of each file by its path."""
        kinds: Counter[str] = Counter()
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                kinds[os.readlink(link).partition(":")[0]] += 1
        return kinds

    def resident_bytes(self) -> int:
        """Memory it occupies right now."""
        return self._memory("VmRSS")

    def forget_peak(self) -> None:
        """Let ``peak_bytes`` begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """The most memory it has occupied since ``forget_peak``."""
        return self._memory("VmHWM")

    def _memory(self, what: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"process {self.pid} has ended")

    def processor_ticks(self) -> int:
        """Processor time it has used, in the kernel's ticks (a hundredth of a second, as a rule)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit status, once it has ended by itself."""
        return self._process.wait(HANG_SECONDS)

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it and its children at once. Parents first, so that none starts a child anew."""
        if self.running:
            children = self.children()
            self._process.kill()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        self._process.wait()

    def _ready(self, port: int) -> bool:
        assert self.running, f"{self._out.stem} ended with {self._process.returncode}:\n{self.output}"
        return answers(port)


NGINX = """\
{user}pid {directory}/{name}.pid;
error_log {directory}/{name}.err;
worker_processes {workers};
worker_rlimit_nofile 8192;
events {{ worker_connections 4000; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {directory}/{name}.body;
    proxy_temp_path {directory}/{name}.proxy;
    fastcgi_temp_path {directory}/{name}.fastcgi;
    uwsgi_temp_path {directory}/{name}.uwsgi;
    scgi_temp_path {directory}/{name}.scgi;
    server {{
        listen {host}:{port} backlog=1024;
        {server}
    }}
}}
"""


def nginx(directory: Path, server: str, *, name: str = "nginx", port: int = 0, workers: int = 1) -> tuple[Program, int]:
    """An nginx and its port.

    Args:
        directory: For its configuration and everything it writes.
        server: What stands in its one ``server`` block.
        name: When a test has several.
        port: Default: a free one.
        workers: Its worker processes.
    """
    port = port or free_port()
    user = "user root;\n" if os.geteuid() == 0 else ""  # or its workers could not enter the test's directory
    config = directory / f"{name}.conf"
    config.write_text(
        NGINX.format(
            user=user, directory=directory, name=name, workers=workers, host=LOOPBACK, port=port, server=server
        )
    )
    argv = ["nginx", "-p", str(directory), "-e", f"{directory}/{name}.err", "-c", str(config), "-g", "daemon off;"]
    return Program(argv, directory, name, [port]), port


def redis(directory: Path, *, name: str = "redis") -> tuple[Program, int]:
    """A redis server that keeps nothing, and its port."""
    port = free_port()
    argv = ["redis-server", "--port", str(port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no"]
    return Program(argv, directory, name, [port]), port


def twistd_command(*arguments: str) -> list[str]:
    """``twistd`` of this Python, with arguments."""
    return [str(Path(sys.executable).with_name("twistd")), *arguments]


def twistd_environment() -> dict[str, str]:
    """The environment as it is, and Python finds this very checkout."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def balancer(
    directory: Path,
    ini: str,
    ports: Iterable[int],
    *options: str,
    name: str = "balancer",
    engine: str = "auto",
    under: Sequence[str] = (),
    descriptors: Iterable[int] = (),
    more: Sequence[str] = (),
) -> Program:
    """Ourselves in the foreground, with the settings ``ini``, ready when all of ``ports`` answer.

    Args:
        directory: Gets ``NAME.ini`` and ``NAME.out``, which has the log.
        ini: The settings.
        ports: Where it will listen on loopback.
        options: More of twistd's own.
        name: When a test has several.
        engine: ``--engine``.
        under: A command that becomes us: ``prlimit --nofile=100``.
        descriptors: Of this process, which that one gets under the same numbers.
        more: Options of ours.
    """
    file = directory / f"{name}.ini"
    file.write_text(in_own_state(directory, ini))
    own = ["nodebalancer", "--config", str(file), "--engine", engine, *more]
    argv = [*under, *twistd_command("-n", "--pidfile=", *options, *own)]
    return Program(argv, directory, name, ports, twistd_environment(), descriptors)


def in_own_state(directory: Path, ini: str) -> str:
    """``ini`` with its ``state_dir`` in the test's directory, unless it says where it is."""
    if "state_dir" in ini:
        return ini
    said = f"state_dir = {directory}/state\n"
    return ini.replace("[service]\n", f"[service]\n{said}") if "[service]\n" in ini else f"{ini}\n[service]\n{said}"


def run(directory: Path, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end in ``directory``, with Python finding the checkout; standard output and error are kept."""
    return subprocess.run(  # noqa: S603 the tests' own command lines
        argv,
        cwd=directory,
        env=twistd_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


def run_twistd(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``twistd`` to its end (as a daemon: until it has launched) in ``directory``."""
    return run(directory, twistd_command(*arguments))


def curl(*arguments: str) -> str:
    """What curl prints for ``arguments``.

    Raises:
        AssertionError: curl failed; with what it said.
    """
    done = subprocess.run(  # noqa: S603 the tests' own command lines
        ["curl", "-sS", "--max-time", str(int(HANG_SECONDS)), *arguments],  # noqa: S607 where curl lies differs
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode("latin-1")
