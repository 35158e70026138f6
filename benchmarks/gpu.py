"""Measure on one GPU, within ten minutes, what the harness promises of it: python benchmarks/gpu.py --out FILE.

    python benchmarks/gpu.py --out gpu.json               # all sections
    python benchmarks/gpu.py agreement speed              # some of them
    python benchmarks/gpu.py --tiny --device cpu          # a rehearsal without a GPU

Each section, or each of its cases, is a process of its own with a time limit. It is skipped, with the reason, where an
import or a device is missing. Figures are printed and kept as soon as they are measured; FILE is written after each
section. The exit status is 1 if a section failed or was stopped. What sections do: benchmarks/gpu_sections.py.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

HARNESS = ("torch", "torchvision", "timm", "hydra", "pydantic", "safetensors")
"""The packages that a plan of the harness needs."""

SKIPPED, FAILED = 3, 1
"""Exit statuses of a section's process."""


@dataclass(frozen=True)
class Section:
    """A section: what it measures, its time limit in seconds, the imports that it needs, and its cases.

    gpu: whether nothing of it makes sense on a CPU. cases: their limits, by name, in place of the section's.
    """

    what: str
    seconds: int = 0
    needs: tuple[str, ...] = ("torch", "torchvision", "timm")
    gpu: bool = False
    cases: dict[str, int] = field(default_factory=dict)


SECTIONS = {
    "machine": Section("versions, imports, and the flags of TF32", 30, ("torch",)),
    "agreement": Section("logits, directions and samples in each precision, beside the CPU's", 30),
    "syncs": Section("where a training step waits for the GPU", 40, HARNESS, gpu=True),
    "resume": Section("whether training repeats, and resumes, bit for bit", 60, HARNESS),
    "run": Section("a run on digits from plan to record, and one that is killed", 70, (*HARNESS, "harness")),
    "speed": Section(
        "a training step beside its reference and its floor",
        cases={
            "wrn-34-10 fp32": 65,
            "wrn-34-10 tf32": 30,
            "wrn-34-10 bf16": 25,
            "wrn-28-10 tf32": 20,
            "wrn-28-10 bf16": 20,
            "wrn-28-10 bf16 compiled": 80,
            "wrn-28-10 bf16 compiled-walk": 80,
            "wrn-28-10 bf16 16-images": 15,
        },
    ),
    "photographs": Section(
        "the same at 256 pixels", cases={"resnet50 tf32": 25, "resnet50 bf16": 25, "convnext-base bf16": 30}
    ),
    "levers": Section("what could make walks and updates faster", 60),
    "attacks": Section(
        "iterations of each attack of AutoAttack, and the hours of a protocol", 35, needs=(*HARNESS, "pyautoattack")
    ),
    "features": Section("from samples to the Fréchet distance", 30, needs=(*HARNESS, "torch_fidelity")),
    "memory": Section("whether the largest batch is as forecast", 30, needs=(*HARNESS, "psutil")),
}


@dataclass
class Outcome:
    """How a section, or a case of one, ended: ran, skipped, failed or stopped; its reason, seconds and figures."""

    ended: str
    reason: str = ""
    seconds: float = 0.0
    figures: dict[str, object] = field(default_factory=dict)


def units(chosen: list[str], tiny: bool) -> Iterator[tuple[str, str, int]]:
    """Yield what is measured in a process of its own: section, case (empty if there are none), and limit in seconds.

    With `tiny`, only the last case of a section: the others are alike.
    """
    for name, section in SECTIONS.items():
        if name in chosen or not chosen:
            cases = list((section.cases or {"": section.seconds}).items())
            yield from ((name, case, limit) for case, limit in (cases[-1:] if tiny else cases))


def measure(section: str, case: str, limit: float, options: list[str]) -> Outcome:
    """Measure one unit in a process of its own, which is killed, with its children, after `limit` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        figures, started = Path(folder) / "figures", time.monotonic()
        figures.touch()
        command = [sys.executable, "-u", __file__, *options, "--figures", str(figures), "--case", case, section]
        process = subprocess.Popen(command, start_new_session=True)
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            pass
        finally:
            stopped = process.poll() is None
            if stopped:
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        found: dict[str, object] = {}
        for line in figures.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):  # the last one may be half a line, if its process was killed
                found |= json.loads(line)
    # The reason is the last figure of a section that did not run to its end.
    ended = "stopped" if stopped else {0: "ran", SKIPPED: "skipped"}.get(status, "failed")
    reason = f"stopped after {limit:.0f} s" if stopped else str(found.pop("reason", ""))
    if ended == "failed" and not reason:
        reason = f"exit status {status}"
    return Outcome(ended, reason, round(time.monotonic() - started, 1), found)


def work(section: str, case: str, tiny: bool, device: str, figures: Path) -> int:
    """Measure one unit in this process; its exit status."""

    def tell(name: str, value: object) -> None:
        if name != "reason":
            print(f"  {name}: {value}", flush=True)
        with figures.open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: value}) + "\n")

    missing = [name for name in SECTIONS[section].needs if importlib.util.find_spec(name) is None]
    if missing:
        tell("reason", f"needs {', '.join(missing)}")
        return SKIPPED
    try:
        import gpu_sections  # torch is imported here, in the section's own process

        how, problem = gpu_sections.prepare(device, tiny, tell)
        if SECTIONS[section].gpu and not problem and how.device.type != "cuda":
            problem = "needs a GPU"
        if problem:
            tell("reason", problem)
            return SKIPPED
        getattr(gpu_sections, section)(how, *([case] if case else []))
    except Exception as error:  # any error is the outcome of this section, and the others go on
        traceback.print_exc()
        tell("reason", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        return FAILED
    return 0


def main() -> int:
    """Measure the chosen sections one after the other, and keep what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help=f"some of {', '.join(SECTIONS)}; all by default", metavar="SECTION")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), metavar="FILE")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal: tiny sizes, one case of each section")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--limit", type=float, default=590, help="seconds for all sections together")
    parser.add_argument("--case", help=argparse.SUPPRESS)  # these two are for a section's own process
    parser.add_argument("--figures", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := [name for name in asked.sections if name not in SECTIONS]:
        parser.error(f"there is no section {unknown[0]}: choose some of {', '.join(SECTIONS)}")
    if asked.figures:
        return work(asked.sections[0], asked.case, asked.tiny, asked.device, asked.figures)

    try:
        asked.out.write_text("{}\n", encoding="utf-8")
    except OSError as error:
        parser.error(f"{asked.out} cannot be written ({error.strerror}): choose another file by --out FILE")

    options, started = ["--device", asked.device, *(["--tiny"] if asked.tiny else [])], time.monotonic()
    outcomes: dict[str, Outcome] = {}
    for section, case, limit in units(asked.sections, asked.tiny):
        name = f"{section} {case}".strip()
        print(f"{name}: {SECTIONS[section].what}", flush=True)
        # Measure it in the time that is left, and write all that is known so far.
        left = asked.limit - (time.monotonic() - started)
        limit = left if asked.tiny else min(limit, left)
        outcome = measure(section, case, limit, options) if left > 0 else Outcome("skipped", "no time left")
        outcomes[name] = outcome
        print(f"  {outcome.ended} in {outcome.seconds:.0f} s{outcome.reason and ': ' + outcome.reason}\n", flush=True)
        content = {
            "command": " ".join(sys.argv[1:]),
            "sections": {key: asdict(value) for key, value in outcomes.items()},
        }
        asked.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    ended = Counter(outcome.ended for outcome in outcomes.values())
    print(f"{', '.join(f'{number} {how}' for how, number in ended.items())}. Written: {asked.out}")
    return int(any(outcome.ended in ("failed", "stopped") for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
