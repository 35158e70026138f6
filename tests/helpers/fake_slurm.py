"""SLURM's commands as scripts that keep a queue in a file: a submitted job stays there until a test removes it."""

import os
from pathlib import Path

SBATCH = """#!/bin/sh
cd {folder}
for fault in down refused; do test ! -e $fault || {{ cat $fault >&2; exit 1; }}; done
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
if test -e most && test $(($(wc -l < queue) + ${{last:-0}} + 1)) -gt $(cat most); then
    echo "sbatch: error: AssocMaxSubmitJobLimit" >&2
    echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy" >&2
    exit 1
fi
if test -e longest && test "${{last:-0}}" -ge $(cat longest); then
    echo "sbatch: error: Batch job submission failed: Invalid job array specification" >&2
    exit 1
fi
test ! -e killer || {{ rm killer; kill -9 $PPID; }}
id=$(($(ls scripts | wc -l) + 101))
cp "$1" scripts/$id.sh
find {runs} -name job.json | sort > noted.$id
name=$(sed -n 's/^#SBATCH --job-name=//p' "$1")
if test -z "$last"; then
    echo "$name|N/A|$id|PENDING|None" >> queue
else
    for task in $(seq 0 "$last"); do echo "$name|$task|${{id}}_$task|PENDING|Priority" >> queue; done
fi
echo "Submitted batch job $id"
test ! -e killer_after || {{ rm killer_after; kill -9 $PPID; }}
"""

SQUEUE = """#!/bin/sh
cd {folder}
test ! -e down || {{ cat down >&2; exit 1; }}
cat queue > seen.$$
test ! -e meeting || for i in $(seq 60); do test $(ls seen.* | wc -l) -gt 1 && break; sleep 0.1; done
cat seen.$$
"""

SRUN = """#!/bin/sh
shift 5  # --unbuffered --output FILE --error FILE
export SLURM_JOB_ID=101 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1
exec "$@"
"""

SCANCEL = """#!/bin/sh
echo "$@" >> {folder}/cancelled
"""

SACCT = """#!/bin/sh
cat {folder}/accounts 2>/dev/null || {{ echo "Slurm accounting storage is disabled" >&2; exit 1; }}
"""


class FakeSlurm:
    """The commands in `folder`, which goes on the PATH, for the runs in `runs`."""

    def __init__(self, folder: Path, runs: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        (folder / "scripts").mkdir()
        self.queue([])
        for name, text in (
            ("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", SRUN), ("scancel", SCANCEL), ("sacct", SACCT)
        ):  # fmt: skip
            path = folder / "bin" / name
            path.write_text(text.format(folder=folder, runs=runs))
            path.chmod(0o755)

    @property
    def path(self) -> str:
        """The PATH with these commands first."""
        return f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def put(self, name: str, text: str = "") -> None:
        """Write a file that the commands read: down, refused, killer, killer_after, accounts, most, longest, meeting.

        most, longest: how many jobs there may be, and how many in an array.
        meeting: a command that reads the queue waits a little for another one to read it as well.
        """
        (self.folder / name).write_text(text)

    def queue(self, lines: list[str]) -> None:
        """Set the lines that squeue shows."""
        self.put("queue", "".join(f"{line}\n" for line in lines))

    @property
    def queued(self) -> list[str]:
        """The lines that squeue shows."""
        return (self.folder / "queue").read_text().splitlines()

    @property
    def scripts(self) -> list[str]:
        """The scripts that were submitted so far."""
        return [path.read_text() for path in sorted((self.folder / "scripts").iterdir())]

    def noted(self, id: int) -> list[str]:
        """The folders that contained a job.json when a job was submitted."""
        return [Path(line).parent.name for line in (self.folder / f"noted.{id}").read_text().splitlines()]
