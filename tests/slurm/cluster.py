"""A SLURM cluster on this machine for the duration of a `with`: real daemons, four nodes, accounts, preemption.

Needs root, and apt-get where SLURM is not installed. Manually: python tests/slurm/cluster.py, until Ctrl-C.
What it lacks: cgroups (no limit on memory, no out-of-memory state), GPUs, MPI. SLURM looks at time limits every 30 s.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

NODES = ("n1", "n2", "n3", "n4")
CPUS = 8
"""CPUs of each node, whatever the machine has: jobs that name no node fit on the first two."""

HOSTS = Path("/etc/hosts")

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client", "slurmdbd", "mariadb-server")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "slurmdbd", "mariadbd", "mariadb-install-db")


class Cluster:
    """A cluster that runs inside `with`; SLURM's commands find it through SLURM_CONF, which is set meanwhile."""

    def __init__(self) -> None:
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.password = secrets.token_hex(12)

    def __enter__(self) -> "Cluster":
        install()
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # sockets need a short path
        self.names = f"127.0.0.1 {' '.join(NODES)} # {self.folder}\n"
        HOSTS.write_text(HOSTS.read_text() + self.names)  # processes on two nodes need to find each other
        try:
            self._configure()
            self._begin()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _configure(self) -> None:
        host, ports = socket.gethostname().partition(".")[0], _free_ports(2 + len(NODES))
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} Weight={weight}"
            for weight, (name, port) in enumerate(zip(NODES, ports[2:], strict=True), start=1)
        )
        facts = {"folder": self.folder, "host": host, "cpus": CPUS, "nodes": nodes, "password": self.password}
        for name in ("slurm.conf", "slurmdbd.conf"):
            text = Path(__file__).with_name(name).read_text()
            (self.folder / name).write_text(text.format(controller=ports[0], accounts=ports[1], **facts))
            (self.folder / name).chmod(0o600)
        (self.folder / "cgroup.conf").write_text(_without_cgroups())
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (self.folder / "munge.key").chmod(0o600)
        (self.folder / "state").mkdir()
        os.environ["SLURM_CONF"] = str(self.folder / "slurm.conf")
        os.environ["MYSQL_UNIX_PORT"] = str(self.folder / "mariadb.socket")

    def _begin(self) -> None:
        at = self.folder
        self.begin(
            "munged", "--foreground", "--force", f"--key-file={at}/munge.key", f"--socket={at}/munge.socket",
            f"--pid-file={at}/munged.pid", f"--seed-file={at}/munge.seed", f"--log-file={at}/munged.log",
        )  # fmt: skip
        data = ("--no-defaults", "--user=root", f"--datadir={at}/data")
        access = ("--auth-root-authentication-method=socket", "--auth-root-socket-user=root")
        call("mariadb-install-db", *data, "--skip-test-db", *access)
        self.begin("mariadbd", *data, f"--socket={at}/mariadb.socket", "--skip-networking")
        sql = ("mariadb", "--no-defaults", f"--socket={at}/mariadb.socket", "-e")
        until(lambda: works(*sql, "select 1"), "MariaDB answers")
        call(*sql, "create database slurm_acct_db")
        call(*sql, f"grant all on slurm_acct_db.* to slurm@localhost identified by '{self.password}'")
        self.begin("slurmdbd", "-D")
        until(lambda: works("sacctmgr", "-i", "add", "cluster", "harness"), "the accounts answer")
        # Each user may have two jobs of the QOS `few`.
        call("sacctmgr", "-i", "add", "qos", "few", "MaxSubmitJobsPerUser=2")
        call("sacctmgr", "-i", "modify", "user", "root", "set", "qos+=few")
        self.controller()
        for name in NODES:
            self.node(name)
        until(lambda: self.states() == ["idle"] * len(NODES), "all nodes are idle")

    def states(self) -> list[str]:
        """The states of the nodes according to SLURM."""
        return call("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split()

    def begin(self, program: str, *arguments: str, name: str = "") -> None:
        """Start a daemon in its own session."""
        with (self.folder / f"{name or program}.out").open("ab") as out:
            command = [shutil.which(program) or program, *arguments]
            self.daemons[name or program] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def controller(self) -> None:
        """Start the controller, or start it again."""
        self.begin("slurmctld", "-D")
        until(lambda: works("scontrol", "ping"), "the controller answers")

    def node(self, name: str) -> None:
        """Start a node, or start it again."""
        (self.folder / f"spool.{name}").mkdir(exist_ok=True)
        self.begin("slurmd", "-D", "-N", name, name=name)

    def kill(self, name: str) -> None:
        """End a daemon as a power cut would."""
        self.daemons[name].kill()
        self.daemons.pop(name).wait()

    def stop(self) -> None:
        """End all jobs and all daemons, and remove the folder."""
        if "slurmctld" in self.daemons:
            jobs = call("squeue", "-h", "-o", "%A").split()
            works("scancel", "--quiet", *jobs)
            until(lambda: not call("squeue", "-h"), "the queue is empty")
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        HOSTS.write_text(HOSTS.read_text().replace(self.names, ""))
        shutil.rmtree(self.folder, ignore_errors=True)


def install() -> None:
    """Install the packages; SystemExit without root."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if os.geteuid() != 0:
        sys.exit("A cluster of one's own needs root: its nodes start jobs, and packages may have to be installed.")
    if all(map(shutil.which, PROGRAMS)):
        return
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    call("apt-get", "update")
    call("apt-get", "install", "-y", "--no-install-recommends", *PACKAGES)


def call(*command: str) -> str:
    """The output of a command; RuntimeError with its errors where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def works(*command: str) -> bool:
    """Whether a command succeeds."""
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


def until(so: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until a condition holds; AssertionError that names it if it takes too long."""
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, f"after {seconds:.0f} s, not so: {what}"
        time.sleep(0.5)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


def _without_cgroups() -> str:
    major, minor = call("slurmctld", "-V").split()[1].split(".")[:2]
    return "CgroupPlugin=disabled\n" if (int(major), int(minor)) >= (23, 11) else "CgroupPlugin=cgroup/v1\n"


if __name__ == "__main__":
    with Cluster() as cluster:
        print(f"export SLURM_CONF={os.environ['SLURM_CONF']}\nCtrl-C ends it.", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass
