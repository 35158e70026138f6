"""The page shows what the records contain, and compares only what is comparable."""

from dataclasses import replace
from itertools import pairwise
from math import nan
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread, imsave
from recorded import ATJEM, CHOSEN, JEM, JOINT, WALK, a_row, finish, further, make, paint, robust, scores

from harness.core.files import write_text
from harness.evaluation.score import Selection
from harness.reports import leaderboard
from harness.reports.figures import figures
from harness.reports.plots.grids import GAP, grids
from harness.reports.plots.style import looks
from harness.reports.plots.tradeoff import Point, Scale, Value, tradeoff
from harness.reports.rows import rows
from harness.reports.section import Section
from harness.reports.series import Series, daggers
from harness.runs import record
from harness.runs.row import Row

GENERATIVE = {"name": "generative", "robust": None, "generate": {**JOINT, "r1": 0.01}, "sampler": WALK}
TUNED = {"learning rate": Selection(by="robust accuracy", split=["validation", "test"])}
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six series on one protocol, and one run on each of three others, one of which has the same id."""
    root = tmp_path_factory.mktemp("board")
    runs = [finish(make(root, s), scores(50 + s, 20.0 - s, 2.0) | further(90 + s), seconds=40 + s) for s in range(3)]
    doubt = {"warnings": ["few restarts"]}
    twice = [
        finish(make(root, s, method=ATJEM), scores(51 + s / 2, 8.0, 3.0, **doubt) | further(88.0, 70 + s))
        for s in (0, 1)
    ]
    finish(make(root, 2, method=ATJEM), {}, state="diverged", reason="loss nan at step 7")
    changed = {"method": {**ATJEM, "joint": {**ATJEM["joint"], "bce": 0.0}}, "overrides": ["method.joint.bce=0"]}
    changed["notes"] = {"loss": "no BCE"}
    variant = finish(make(root, **changed), scores(30, 150.25, 1.5), seconds=9000, selection=CHOSEN)
    tuned = {"method": {**ATJEM, "sampler": {**WALK, "steps": 9}}, "overrides": ["method.sampler.steps=9"]}
    best = finish(make(root, **tuned), scores(99, 0.1, 0.1, **doubt) | further(99.0), selection=TUNED)
    finish(make(root, method=GENERATIVE), {"fd_digits": scores(0, 6.5, 0)["fd_digits"]})
    broken = make(root, method=JEM)
    broken.freeze()
    write_text(broken.folder / "failure.md", "out of memory")
    stricter = {"id": "digits-1", "metrics": {"accuracy": {}}}
    other = finish(make(root, protocol=stricter), scores(99, 1, 1))
    finish(make(root, protocol={"id": "digits-2", "metrics": {}}), robust(10))
    quick = {"protocol": record.ProtocolTag(id="quick-digits-1", hash="0123", label="for trying out")}
    finish(make(root, protocol={"id": "quick-digits-1", "metrics": {}}), scores(20, 2, 2), **quick)
    for number, run in enumerate([*runs, *twice, variant, other]):
        paint(run, number / 7)
    for number, run in enumerate([runs[0], runs[1], best]):
        paint(run, number / 7, "reliability")
    leaderboard.write(broken.config)
    return root


def overview(root: Path) -> list[str]:
    """The sections of the overview, one for each dataset and protocol."""
    return (root / "reports" / "LEADERBOARD.md").read_text(encoding="utf-8").split("\n## ")[1:-1]


def details(root: Path, protocol: str = "digits-1-") -> str:
    """The page with the most runs under a protocol."""
    found = (root / "reports" / "pages").glob(f"digits-{protocol}*.md")
    return max((path.read_text(encoding="utf-8") for path in found), key=len)


def test_the_pages_are_the_golden_ones(place: Path, tmp_path: Path) -> None:
    texts = {"LEADERBOARD.md": (place / "reports" / "LEADERBOARD.md").read_text(encoding="utf-8")}
    for name, text in {**texts, "DETAILS.md": details(place)}.items():
        for number, digest in enumerate(sorted({row.protocol.hash for row in rows(make(place).config)})):
            text = text.replace(digest, f"HASH{number}")
        new = tmp_path / name
        new.write_text(text, encoding="utf-8")
        assert text == (GOLDEN / name).read_text(encoding="utf-8"), f"if this is intended: cp {new} {GOLDEN}"


def tables(section: str) -> dict[str, dict[str, list[str]]]:
    """The tables of a section by title; each maps a method to the cells of its row."""
    parts = section.split("\n\n")
    found = {before.strip("*"): part for before, part in pairwise(parts) if part.startswith("| ")}
    rows = {title: [line.strip("| ").split("|") for line in part.splitlines()[2:]] for title, part in found.items()}
    return {title: {row[0].strip(): [cell.strip() for cell in row[1:]] for row in of} for title, of in rows.items()}


def test_two_protocols_never_share_a_table(place: Path) -> None:
    sections = overview(place)
    found = rows(make(place).config)
    digests = {row.protocol.hash for row in found}
    assert len(sections) == len(digests) == 4
    for section in sections:
        (digest,) = [digest for digest in digests if f"(hash {digest})" in section]
        runs = [row for row in found if row.protocol.hash == digest]
        main, *others = tables(section).items()
        barred = dict(others).get("Not ranked", {})
        assert len(main[1]) + len(barred) == len({run.series for run in runs})
        assert ("99.0 [94" in str(main)) == any("ece" in run.scores and run.scores["ece"].value == 1 for run in runs)


def test_details_stand_in_tables_of_their_own_with_the_same_rows(place: Path) -> None:
    (_, main), *_ = tables(overview(place)[0]).items()
    found = tables(details(place))
    assert list(found["OOD detection"]) == list(found["Counterfactuals"]) == [name.rstrip(" ◆") for name in main]
    assert found["OOD detection"]["AT"] == ["digits", "**91.0 ± 1.0**"]
    assert found["Counterfactuals"]["AT-JEM (DAT)"] == ["digits", "70.5 ± 0.7"], "no other has the score"
    assert found["Counterfactuals"]["AT"] == ["digits", "–"]
    assert "91.0" not in str(main) and "70.5" not in str(main)


def test_what_was_tuned_on_the_test_split_is_shown_but_neither_ranked_nor_drawn(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, main), (title, barred) = tables(overview(place)[0]).items()
    found, tuned, text = tables(details(place)), "AT-JEM (DAT) (method.sampler.steps=9)", details(place)
    assert tuned not in main and tuned not in found["OOD detection"]
    assert main["AT-JEM (DAT) ◆"][1] == "**51.2 ± 0.4** †", "the best of the ranked ones must be bold"
    assert title == "Not ranked"
    assert barred[tuned][1:4] == [
        "99.0 [94.0, 104.0] †",
        "0.100",
        "0.1",
    ]
    assert found["OOD detection, not ranked"][tuned][1] == "99.0 [98.0, 100.0]"
    assert "Counterfactuals, not ranked" not in found
    assert f"- {tuned}, learning rate: chosen by robust accuracy, on validation and test: not ranked" in text
    section = Section([row for row in rows(make(place).config) if row.protocol.id == "digits-1"])
    drawn: list[Point] = []
    monkeypatch.setattr("harness.reports.figures.tradeoff", lambda path, points, *_: drawn.extend(points))
    next(figures(section, tmp_path))
    assert tuned in [series.label for series in section.series]
    assert drawn and tuned not in [point.label for point in drawn]


def test_a_reason_to_doubt_is_told_once_with_all_scores_and_methods_that_it_concerns() -> None:
    def run(method: str, seed: int, **warnings: list[str]) -> Row:
        found = {key: robust(50, title=key, warnings=of)["robust_accuracy/l2_0.5"] for key, of in warnings.items()}
        return a_row(method, seed, scores=found)

    at = [run("at", seed, FID=["weights"], KID=["weights"], IS=["few", "weights"]) for seed in range(3)]
    jem = [run("jem", 0, FID=["weights"], KID=["weights"], IS=["few"]), run("jem", 1, FID=[], KID=[], IS=[])]
    lost = replace(run("jem", 2, FID=["of no account"]), state="diverged")
    assert list(daggers([Series(at), Series([*jem, lost])])) == [
        "† FID, KID: weights (AT, JEM)",
        "† IS: few (AT, JEM)",
        "† IS: weights (AT)",
    ]


def test_runs_of_unknown_code_are_counted_and_doubtful_ones_are_not_ranked() -> None:
    known = [a_row("at", seed, code="c0de", scores=scores(50.0, 20.0, 2.0)) for seed in range(2)]
    assert Section(known).footnotes() == []
    mixed = a_row("jem", code="c0de", scores=scores(99.0, 0.1, 0.1), doubts=["made by mixed code: core/walk.py"])
    section = Section([*known, a_row("atjem", scores=scores(40.0, 9.0, 2.0)), mixed, a_row("ratio", state="failed")])
    assert section.footnotes() == [
        "† JEM, made by mixed code: core/walk.py: not ranked",
        "The code of 1 of 4 runs is unknown: it was not recorded",
    ]
    assert [table.title for table in section.main()] == ["", "Not ranked"]
    ((name, *_),) = section.main()[1].rows
    assert (name.text, name.marks, section.front) == ("JEM", "†", {"at", "atjem"})


def test_large_pictures_keep_their_size_and_long_titles_are_whole(tmp_path: Path) -> None:
    imsave(tmp_path / "large.png", np.zeros((600, 750)), cmap="gray", vmin=0, vmax=1)
    heights = {}
    for title in ("at", "at " + "(method.robust.training.lr=0.1) " * 20):
        grids(tmp_path / "grid.png", [(title, imread(tmp_path / "large.png"))] * 2)
        grid = imread(tmp_path / "grid.png")[..., 0]
        assert grid.shape[1] == 3 * GAP + 1500
        assert (grid < 0.02).sum(1).max() == 1500
        assert (grid[:5] > 0.9).all(), "the title is cut"
        heights[title] = len(grid)
    assert len(set(heights.values())) == 2


def test_what_must_be_said_of_a_protocol_stands_in_the_title_and_above_the_figure(place: Path) -> None:
    titles = [section.split("\n")[0] for section in overview(place)]
    assert titles[3] == "digits, protocol quick-digits-1 (hash 0123): for trying out"
    assert not any("trying" in title for title in titles[:3])
    drawn = {}
    points = [Point("at", looks(["at"])[0], Value(1, nan, nan), Value(2, nan, nan))]
    for said in ("", "for trying out"):
        tradeoff(place / "some.png", points, [], Scale("FD", "lower"), Scale("R", "higher"), said)
        drawn[said] = (imread(place / "some.png") < 0.5).sum()
    assert drawn["for trying out"] > drawn[""]


def test_every_figure_is_shown_and_none_is_made_of_nothing(place: Path) -> None:
    drawn = (place / "reports" / "figures").iterdir()
    made = {f"(../figures/{path.name})" for path in drawn if path.suffix == ".png"}
    pages = "".join(path.read_text(encoding="utf-8") for path in (place / "reports" / "pages").iterdir())
    assert len(made) == 7 and all(pages.count(name) == 1 for name in made)
    page = details(place, "digits-2-")
    assert "| AT " in page and "![" not in page


def test_grids_stand_side_by_side(place: Path) -> None:
    one, three = sorted((imread(p)[..., 0] for p in (place / "reports" / "figures").glob("samples-*.png")), key=np.size)
    (two,) = (imread(p)[..., 0] for p in (place / "reports" / "figures").glob("reliability-*.png"))
    assert one.shape[1] == 480 + 2 * GAP, "small images must be enlarged"
    assert three.shape[1] == 3 * (480 + GAP) + GAP
    assert two.shape[1] == 2 * (480 + GAP) + GAP, "one from each series that has it"
    shares = [(part < 0.99).mean() for part in np.array_split(three, 3, axis=1)]
    assert min(shares) > 0.4, f"a grid is missing: {shares} of the three thirds are painted"


def test_intervals_over_images_stand_below_where_seeds_hide_them(place: Path) -> None:
    shown = tables(details(place))["95 % intervals of a run, over images or samples: mean bounds of the seeds"]
    assert shown["AT"] == ["[46.0, 56.0]"], "from 50, 51 and 52, each ± 5"
    assert set(shown) == {"AT", "AT-JEM (DAT)"}, "for a single seed it stands beside the number"
