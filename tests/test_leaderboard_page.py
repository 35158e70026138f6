"""The page says what the records say, and compares nothing that does not compare."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread, imsave
from test_tracking_mirror import TRAINING, WALK, database, finish, make, robust

from harness import record, tracking
from harness.files import write_text
from harness.reports import leaderboard
from harness.runs import Run

JOINT = {"contrast": {"walk": WALK, "curriculum": None}, "training": TRAINING}
ATJEM = {"name": "atjem", "robust": None, "joint": {**JOINT, "attack": WALK}, "sampler": WALK}
GENERATIVE = {"name": "generative", "robust": None, "generate": {**JOINT, "r1": 0.01}, "sampler": WALK}
JEM = {"name": "jem", "energy": {"chains": {"walk": WALK}, "training": TRAINING}, "sampler": WALK}
CHOSEN = {"weights": "last, on no split"}
GOLDEN = Path(__file__).parent / "golden" / "LEADERBOARD.md"


def scores(robust_accuracy: float, fd: float, ece: float, **fields: Any) -> dict[str, record.Score]:
    """A robust accuracy with its interval, a distance and a calibration error."""
    interval = {"low": robust_accuracy - 5, "high": robust_accuracy + 5}
    return {
        **robust(robust_accuracy, **interval, **fields),
        "fd_digits": record.Score(title="FD", value=fd, n=500, better="lower"),
        "ece": record.Score(title="ECE", value=ece, n=360, unit="%", better="lower"),
    }


def paint(run: Run, grey: float) -> None:
    """A sample grid."""
    rows, columns = np.indices((40, 40))
    imsave(
        run.folder / "samples.png",
        np.clip(grey + (rows // 8 + columns // 8) % 2 / 4, 0, 1),
        cmap="gray",
        vmin=0,
        vmax=1,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with five series on one protocol, and a run on each of two others, of which one has the same id."""
    root = tmp_path_factory.mktemp("board")
    (root / "runs").mkdir()
    (root / "runs" / "mlflow.db").write_bytes(database())
    runs = [finish(make(root, s), scores(50 + s, 20.0 - s, 2.0), seconds=40 + s) for s in range(3)]
    twice = [
        finish(make(root, s, method=ATJEM), scores(51 + s / 2, 8.0, 3.0, warnings=["few restarts"])) for s in (0, 1)
    ]
    lost = finish(make(root, 2, method=ATJEM), {}, state="diverged", reason="loss nan at step 7")
    changed = {"method": {**ATJEM, "joint": {**ATJEM["joint"], "bce": 0.0}}, "overrides": ["method.joint.bce=0"]}
    changed["notes"] = {"loss": "no BCE"}
    variant = finish(make(root, **changed), scores(30, 150.25, 1.5), seconds=9000, selection=CHOSEN)
    samples = finish(make(root, method=GENERATIVE), {"fd_digits": scores(0, 6.5, 0)["fd_digits"]})
    broken = make(root, method=JEM)
    broken.freeze()
    write_text(broken.folder / "failure.md", "out of memory")
    stricter = {"id": "digits-1", "metrics": {"accuracy": {}}}
    judged = [finish(make(root, protocol=stricter), scores(99, 1, 1))]
    judged += [finish(make(root, protocol={"id": "digits-2", "metrics": {}}), robust(10))]
    for number, run in enumerate([*runs, *twice, variant, judged[0]]):
        paint(run, number / 7)
    assert all(tracking.push(run) for run in [*runs, *twice, lost, variant, samples, broken, *judged])
    leaderboard.write(broken.config)
    return root


def page(root: Path) -> str:
    """The page."""
    return (root / "reports" / "LEADERBOARD.md").read_text(encoding="utf-8")


def test_the_page_is_the_golden_one(place: Path, tmp_path: Path) -> None:
    text = page(place)
    for number, digest in enumerate(sorted(tracking.results(make(place).config)["protocol_hash"].unique())):
        text = text.replace(digest, f"HASH{number}")
    new = tmp_path / "LEADERBOARD.md"
    new.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), f"if this is meant: cp {new} {GOLDEN}"


def test_two_protocols_never_share_a_table(place: Path) -> None:
    sections = page(place).split("\n## ")[1:]
    table = tracking.results(make(place).config)
    assert len(sections) == table["protocol_hash"].nunique() == 3
    for section in sections:
        (digest,) = [digest for digest in table["protocol_hash"].unique() if f"(hash {digest})" in section]
        runs = table[table["protocol_hash"] == digest]
        assert section.count("\n| ") - 1 == runs["series"].nunique()
        assert ("99.0" in section) == any(s.get("ece") and s["ece"].value == 1 for s in runs["scores"])


def test_the_same_database_gives_the_same_bytes(place: Path) -> None:
    def files() -> dict[str, bytes]:
        found = [path for path in (place / "reports").rglob("*") if path.is_file()]
        return {str(path.relative_to(place / "reports")): path.read_bytes() for path in found}

    before = files()
    leaderboard.write(make(place).config)
    assert files() == before


def test_every_figure_is_shown_and_none_is_made_of_nothing(place: Path) -> None:
    made = {f"(figures/{path.name})" for path in (place / "reports" / "figures").iterdir()}
    assert len(made) == 4 and all(page(place).count(name) == 1 for name in made)
    (section,) = [section for section in page(place).split("\n## ") if "protocol digits-2" in section]
    assert "| at " in section and "![" not in section


def test_grids_stand_side_by_side(place: Path) -> None:
    one, three = sorted((imread(p)[..., 0] for p in (place / "reports" / "figures").glob("samples-*")), key=np.size)
    assert three.shape[1] == pytest.approx(3 * one.shape[1], rel=0.01)
    shares = [(part < 0.99).mean() for part in np.array_split(three, 3, axis=1)]
    assert min(shares) > 0.4, f"a grid is missing: {shares} of the three thirds are painted"
