"""Where tests type what the documents have people type: free ports and directories of the test instead of those that are shown."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from nodebalancer.testing.nodes import (
    HANG_SECONDS,
    ROOT,
    Program,
    free_port,
    in_own_state,
    twistd_environment,
    wait_until,
)

OF_THE_MACHINE = r"(?<!\w)/(etc|opt|run|srv|usr/local|var)/"
"""What nothing that is run here may name."""

BIN = Path(sys.executable).parent
"""Instead of ``/opt/nodebalancer/bin``."""


class Stage:
    """Where the commands of a page run.

    Args:
        directory: Theirs, and everything of this test is in it.
        programs: Ends what they have started.

    Attributes:
        inwards: Shown text to what is used here instead; the first that fits goes first.
        outwards: The other way round, for what is printed.
        etc: Instead of ``/etc/nodebalancer``.
        jobs: What was started and stays, by the shell's number; with the ports it has.
        status: How the last command ended, which the next one knows as ``$?``.
        environment: Of commands; its home is the stage, so curl finds its ``.curlrc`` there.
    """

    def __init__(self, directory: Path, programs: ExitStack) -> None:
        self.directory = directory
        self.programs = programs
        self.inwards: dict[str, str] = {"/opt/nodebalancer/bin": str(BIN), "runuser -u nodebalancer --": ""}
        self.outwards: dict[str, str] = {}
        self.instead("/var/lib/nodebalancer", str(directory / "state"))
        self.etc = Path(self.instead("/etc/nodebalancer", str(directory / "etc")))
        self.etc.mkdir()
        Path(self.instead("/var/log/nodebalancer", str(directory / "log"))).mkdir()
        self.jobs: dict[int, tuple[Program, set[int]]] = {}
        self._started = 0
        self.status = 0
        (directory / "state").mkdir()
        (directory / ".curlrc").write_text(f"silent\nshow-error\nmax-time = {HANG_SECONDS:.0f}\n")
        self.environment = {
            **twistd_environment(),
            "HOME": str(directory),
            "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
        }

    def instead(self, shown: str, ours: str) -> str:
        """Use ``ours`` where a page shows ``shown``, and the other way round for what is printed."""
        self.inwards[shown], self.outwards[ours] = ours, shown
        return ours

    def port(self, shown: int) -> int:
        """A free port instead of the one shown, wherever it is shown."""
        return int(self.instead(str(shown), str(free_port())))

    def write(self, name: str, text: str) -> None:
        """Make a settings file that a page shows."""
        file = self.directory / exchanged(name, self.inwards)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(in_own_state(self.directory, exchanged(text, self.inwards)))

    def type(self, command: str) -> str:
        """Run a command; what it has printed, as the page would show it.

        ``kill %N`` and ``systemctl`` are played: ``enable`` and ``reload`` do what the unit in ``etc/`` says.
        """
        if ended := re.fullmatch(r"kill %(\d)", command):
            program, _ = self.jobs.pop(int(ended[1]))
            program.kill()
            return ""
        if re.fullmatch(r"systemctl reload \w+", command):
            check, _signal = in_unit("ExecReload")
            told = self.type(check)
            return self._reload(self.jobs[self._started][0]) if self.status == 0 else told
        if re.fullmatch(r"systemctl enable --now .*", command):
            [command] = in_unit("ExecStart")
        command = exchanged(command, self.inwards)
        elsewhere = command.replace(str(self.directory), "ours").replace(str(BIN), "ours")
        assert not re.search(OF_THE_MACHINE, elsewhere), (
            f"would touch this machine, say what instead or why not: {command}"
        )
        if command.endswith(" &") or re.search(r"\btwistd -n ", command):
            return self._start(shlex.split(command.removesuffix("&"), comments=True))
        done = subprocess.run(  # noqa: S603 the documents' own commands
            ["/bin/bash", "-c", f"(exit {self.status}); {command}"],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
        self.status = done.returncode
        return exchanged(done.stdout.replace("\r", ""), self.outwards)

    def _start(self, argv: list[str]) -> str:
        """A program that stays; it is ready when it answers on its port, or on those of its settings."""
        ports = doors = {int(argv[-1])} if argv[-1].isdigit() else set()
        if "--config" in argv:
            text = (self.directory / argv[argv.index("--config") + 1]).read_text()
            ports = {int(port) for port in re.findall(r"^port = (\d+)$", text, re.MULTILINE)}
            # Of shell and metrics, if there are any: to look at those is not counted as a client.
            doors = {int(port) for port in re.findall(r"^listen = \S+:(\d+)$", text, re.MULTILINE)} or ports
        self._make_way(ports)
        self._started += 1
        program = Program(argv, self.directory, f"job-{self._started}", doors, self.environment)
        self.jobs[self._started] = self.programs.enter_context(program), ports
        self.status = 0
        return ""

    def _make_way(self, ports: set[int]) -> None:
        """A page that shows another way to run the same has the one before ended, in good order."""
        for number, (program, held) in tuple(self.jobs.items()):
            if ports & held:
                del self.jobs[number]
                assert program.stop() == 0, program.output

    @staticmethod
    def _reload(balancer: Program) -> str:
        before = balancer.output.count(": reloaded ")
        balancer.send(signal.SIGHUP)
        wait_until(lambda: balancer.output.count(": reloaded ") > before, "a reload")
        return ""


def in_unit(key: str) -> list[str]:
    """What the service's unit has for ``key``, in its order."""
    return re.findall(rf"^{key}=(.+)$", (ROOT / "etc/nodebalancer.service").read_text(), re.MULTILINE)


def exchanged(text: str, pairs: Mapping[str, str]) -> str:
    """``text`` with what is left in a pair replaced by what is right, the first that fits, and never inside of a word."""
    if not pairs:
        return text
    # In one pass, so that what was put in is not exchanged again.
    old = "|".join(map(re.escape, pairs))
    return re.sub(rf"(?<!\w)(?:{old})(?!\w)", lambda found: pairs[found[0]], text)
