"""Take screenshots of what people see: commands in terminals of two sizes, pages on a desktop and on a phone.

Needs tmux and Chromium (apt-get install tmux chromium). `make screenshots` writes them to build/screenshots, as PNG;
those of commands as SVG too. `make screenshots ONLY="status phone"` takes those that have a word in their names.
The runs are real: two small ones on digits, trained here, the second of which is interrupted. The pages are those of
the committed runs on digits.
"""

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from chromium import browser
from playwright.sync_api import Page
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build" / "screenshots"
WORLD = OUT / "world"
"""The folder in which commands are typed."""

TERMINALS = {"80x24": (80, 24), "120x40": (120, 40)}
SCREENS = {"desktop": (1400, 1000, False), "phone": (390, 844, True)}
"""Width, height, and whether it is a touch screen."""

PROTOCOL = """\
# A minute's evaluation.
id: tiny-1
label: for screenshots
metrics:
  accuracy: {split: test}
  robustness: {split: test, norm: L2, eps: 0.5, targets: 9, chunk: 10, seed: 0, count: 20}
  fidelity: {features: digits, kid_subset: 50, seed: 0}
  calibration: {split: test, bins: 20}
samples: {count: 200, chunk: 50, seed: 0}
"""

SMALL = "method=at,atjem budget=0.05 protocol=tiny --config-dir=parts tracking=off"
COMMITTED = f"runs={ROOT / 'docs/digits/records'}"
PAIR = "atjem-digits-s0-c1a31312 at-digits-s0-0b43355c"

COMMANDS = {
    "help": "harness --help",
    "list": "harness list",
    "mistyped": "harness method=atjm dta=digits",
    "plan": f"harness plan -m {SMALL} seed=0,1",
    "status": "harness status",
    "compare": f"harness compare {PAIR} {COMMITTED}",
    "report": f"harness report {COMMITTED} reports=pages",
}
"""Commands of which all that is printed is shown, after those that train."""

PAGES = ("leaderboard.html", "methods/atjem.html", "runs/atjem-digits-s0-c1a31312.html")


class Terminal:
    """A terminal of a tmux server of its own that runs one command, in the folder WORLD."""

    servers = count()

    def __init__(self, command: str, columns: int, lines: int) -> None:
        self.command, self.columns = command, columns
        self.server = ["tmux", "-L", f"shots-{os.getpid()}-{next(self.servers)}", "-f", os.devnull]
        path = f"PATH={Path(sys.executable).parent}:{os.environ['PATH']}"
        shell = f"printf '$ %s\\n' '{command}'; {path} {command}; tmux wait-for -S ended; sleep 600"
        size = ["-x", str(columns), "-y", str(lines)]
        self.tmux("new-session", "-d", "-s", "shot", *size, shell)

    def tmux(self, *words: str) -> str:
        """Give tmux a command; return what it prints."""
        return subprocess.run([*self.server, *words], cwd=WORLD, capture_output=True, text=True, check=True).stdout

    def shown(self) -> str:
        """Return all lines, also those that have scrolled away, with their colours."""
        return self.tmux("capture-pane", "-t", "shot", "-e", "-p", "-S", "-").rstrip()

    def until(self, there: Callable[[str], bool], seconds: float = 600) -> None:
        """Wait until the text that is shown is as it should be; TimeoutError if it never is."""
        end = time.monotonic() + seconds
        while not there(Text.from_ansi(self.shown()).plain):
            if time.monotonic() > end:
                raise TimeoutError(f"{self.command}\n{self.shown()}")
            time.sleep(0.2)

    def wait(self) -> None:
        """Wait until the command has ended."""
        self.tmux("wait-for", "ended")

    def save(self, name: str, page: Page) -> None:
        """Save what is shown as an SVG and a PNG."""
        console = Console(record=True, width=self.columns, file=io.StringIO())
        console.print(Text.from_ansi(self.shown()))
        svg = console.export_svg(title=name)
        (OUT / f"{name}.svg").write_text(svg, encoding="utf-8")
        page.set_content(svg)
        page.locator("svg").first.screenshot(path=OUT / f"{name}.png")


@contextmanager
def terminal(command: str, size: str) -> Iterator[Terminal]:
    """A terminal of a size in which a command runs; it is closed at the end."""
    opened = Terminal(command, *TERMINALS[size])
    try:
        yield opened
    finally:
        opened.tmux("kill-server")


def train(size: str, seed: int, page: Page) -> None:
    """Train two runs; take shots of a bar in training, of one in an attack, and of what Ctrl-C leaves."""
    with terminal(f"harness -m {SMALL} seed={seed}", size) as shot:
        for name, word in (("training", "train robust"), ("attack", "stand"), ("second-run", "train joint")):
            shot.until(lambda text, word=word: word in text)
            time.sleep(1)
            shot.save(f"{name}-{size}", page)
        shot.tmux("send-keys", "-t", "shot", "C-c")
        shot.wait()
        shot.save(f"interrupted-{size}", page)
    with terminal(f"harness -m {SMALL} seed={seed}", size) as shot:
        shot.wait()
        shot.save(f"continued-{size}", page)


def main(words: list[str]) -> None:
    """Take all shots, or those whose names contain a word."""

    def wanted(name: str) -> bool:
        return not words or any(word in name for word in words)

    (WORLD / "parts" / "protocol").mkdir(parents=True, exist_ok=True)
    (WORLD / "parts" / "protocol" / "tiny.yaml").write_text(PROTOCOL, encoding="utf-8")
    with browser() as page:
        for seed, size in enumerate(TERMINALS):
            if wanted(f"training-{size}"):
                shutil.rmtree(WORLD / "runs", ignore_errors=True)
                train(size, seed, page)
            for name, command in COMMANDS.items():
                if wanted(f"{name}-{size}"):
                    with terminal(command, size) as shot:
                        shot.wait()
                        shot.save(f"{name}-{size}", page)
    for screen, (width, height, touch) in SCREENS.items():
        with browser(width, height, touch) as page:
            for path in PAGES:
                name = f"{path.split('/')[0].removesuffix('.html')}-{screen}"
                if wanted(name):
                    page.goto(f"file://{WORLD / 'pages' / path}")
                    page.screenshot(path=OUT / f"{name}.png", full_page=True)


if __name__ == "__main__":
    main(sys.argv[1:])
