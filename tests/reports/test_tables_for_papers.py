"""Tables for a paper have what was asked for, as the records and the leaderboard say it, in LaTeX, markdown and CSV."""

import csv
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from itertools import combinations, product
from pathlib import Path
from statistics import fmean, stdev

import pytest
from recorded import ATJEM, JEM, finish, further, make, scores
from scipy.stats import ttest_rel

from harness.cli.main import command
from harness.evaluation.score import Selection
from harness.reports.latex import for_paper
from harness.reports.leaderboard import make_sections
from harness.reports.paper import Choice, papers
from harness.reports.rows import rows
from harness.reports.tables import Cell, Table

FD = {"AT": (20.5, 19.0, 20.0), "AT-JEM (DAT)": (8.0, 9.0, 8.4), "JEM": (8.3, 8.5, 9.1)}
"""The FD of each seed that is done; a third seed of JEM is failed, so that JEM is ranked but not finished."""

CITED = {"AT": "madry2018towards", "AT-JEM (DAT)": "yin2026scalable"}
TEX = shutil.which("pdflatex")
HEADERS = ["method", "FD ↓", "AUROC (fields) ↑ %", "Robust accuracy ↑ %"]
ASKED = ("columns=[fd, ood/,robust_accuracy]", "methods=[atjem,jem,at]", "of=digits", "under=digits-1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods that are finished, one that is not, one that is not ranked, and a run under another protocol."""
    root = tmp_path_factory.mktemp("paper")
    doubt = {"warnings": ["few restarts"]}
    for seed, fd in enumerate(FD["AT"]):
        finish(make(root, seed), scores(50 + seed, fd, 2.0, **doubt) | further(90 + seed))
    for seed, fd in enumerate(FD["AT-JEM (DAT)"]):
        finish(make(root, seed, method=ATJEM), scores(49 + seed / 2, fd, 3.0) | further(88.0))
    for seed, fd in enumerate(FD["JEM"]):
        finish(make(root, seed, method=JEM), scores(40.0, fd, 3.0) | further(80.0))
    finish(make(root, 3, method=JEM), {}, state="diverged", reason="loss nan at step 7")
    tuned = {"rate": Selection(by="robust accuracy", split=["test"])}
    finish(make(root, overrides=["threads=2"], model={"name": "digits", "width": 9}), scores(99, 1, 1), selection=tuned)
    finish(make(root, protocol={"id": "digits-2", "metrics": {}}), scores(10, 3, 3))
    return root


@pytest.fixture(scope="module")
def paper(place: Path) -> tuple[Path, str]:
    """The LaTeX file of the table that is asked for, and what was printed."""
    with redirect_stdout(StringIO()) as out:
        status = command(["report", f"runs={place / 'runs'}", f"reports={place / 'paper'}", *ASKED])
    (tex,) = (place / "paper" / "tables").glob("*.tex")
    assert status == 0
    return tex, out.getvalue()


@pytest.fixture
def report(place: Path, type_: Callable[..., tuple[int, str, str]], tmp_path: Path) -> Callable[..., tuple]:
    """A function that types `report` with arguments; returns status, output, errors and the folder of the report."""

    def report(*arguments: str) -> tuple[int, str, str, Path]:
        status, out, err = type_("report", f"runs={place / 'runs'}", f"reports={tmp_path / 'pages'}", *arguments)
        return status, out, err, tmp_path / "pages"

    return report


def expected() -> list[list[str]]:
    """The rows of the table that is asked for, from the numbers above: means and sample standard deviations."""
    robust = {"AT": (50, 51, 52), "AT-JEM (DAT)": (49, 49.5, 50)}
    auroc = {"AT": (90, 91, 92), "AT-JEM (DAT)": (88, 88, 88)}

    def cell(values: tuple[float, ...], digits: int) -> str:
        return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f}"

    return [
        [name, cell(FD[name], 2), cell(auroc[name], 1), cell(robust[name], 1) + " †" * (name == "AT")]
        for name in ("AT-JEM (DAT)", "AT")
    ]


def as_good_as_the_best() -> set[str]:
    """The methods that are not significantly worse in FD than the best: paired t-tests, with Holm's correction."""
    ps = sorted((float(ttest_rel(FD[one], FD[other]).pvalue), {one, other}) for one, other in combinations(FD, 2))
    differ = []
    for place, (p, pair) in enumerate(ps):
        if p * (len(ps) - place) >= 0.05:
            break
        differ.append(pair)
    best = min(FD, key=lambda name: fmean(FD[name]))
    return {name for name in FD if {best, name} not in differ}


def plain(tex: str) -> str:
    """A cell of LaTeX as it is read, without its citation."""
    tex = re.sub(r" \\citep\{\w+\}", "", tex)
    tex = re.sub(r"\\rlap\{(.*)\}", r" \1", tex)
    tex = tex.replace(r"\phantom{0}", "")
    tex = re.sub(r"\\textbf\{(.*?)\}", r"\1", tex)
    tex = re.sub(r"\\shortstack\[\w\]\{(.*)\}", lambda found: found[1].replace(r"\\", " "), tex)
    for name, sign in {"$\\pm$": "±", "$^\\dagger$": "†", "$\\uparrow$": "↑", "$\\downarrow$": "↓"}.items():
        tex = tex.replace(name, sign)
    return tex.replace(r"\%", "%").strip()


def test_rows_columns_and_numbers_are_those_of_the_records_in_the_order_asked(paper: tuple[Path, str]) -> None:
    tex, out = paper
    text = tex.read_text(encoding="utf-8")
    lines = [line.removesuffix(r"\\").split(" & ") for line in text.splitlines() if line.endswith(r"\\")]
    assert [plain(cell) for cell in lines[0]] == HEADERS
    assert [[plain(cell) for cell in row] for row in lines[1:]] == expected()
    # Numbers are right-aligned, with as many decimals in all rows of a column.
    assert r"\begin{tabular}{lrrr}" in text
    for column in zip(*lines[1:], strict=True):
        assert len({tuple(map(len, re.findall(r"\.(\d+)", plain(cell)))) for cell in column}) == 1
    # Markdown and CSV have the same.
    marked = [line.strip("| ").split("|") for line in tex.with_suffix(".md").read_text().splitlines() if "|" in line]
    assert [[cell.strip(" *").replace("** †", " †") for cell in row] for row in marked if ":-" not in row[0]] == [
        HEADERS,
        *expected(),
    ]
    with tex.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [HEADERS, *expected()]
    # What is not in it is named, with the reason.
    assert f"Not in tables/{tex.stem}: JEM: seeds done: 3/4, 1 diverged" in out
    assert f"Not in tables/{tex.stem}: AT (threads=2): not ranked" in out and tex.name in out


def cells(page: str) -> dict[str, dict[str, str]]:
    """The cells of the first table of a page in markdown, by method and header."""
    lines = [line for line in page.partition("| method")[2].split("\n\n")[0].splitlines() if ":--" not in line]
    head, *rows = ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines)
    return {row[0].rstrip(" ◆"): dict(zip(head, row[1:], strict=False)) for row in rows}


def test_bold_is_decided_among_all_ranked_methods_as_on_the_leaderboard(paper: tuple[Path, str]) -> None:
    tex, _ = paper
    text = tex.read_text(encoding="utf-8")
    bold = set(re.findall(r"^(.*?) \\citep\{\w+\} & \\textbf", text, re.M))
    assert bold == as_good_as_the_best() - {"JEM"} == {"AT-JEM (DAT)"}
    assert "These tests are among all 3 ranked methods of the leaderboard." in text
    shown = cells(tex.with_suffix(".md").read_text(encoding="utf-8"))
    overview = cells((tex.parents[1] / "LEADERBOARD.md").read_text(encoding="utf-8"))
    for name, header in product(shown, ("FD ↓", "Robust accuracy ↑ %")):
        assert shown[name][header] == overview[name][header], "a number, its bold and its dagger are the same"


def test_it_has_a_label_the_doubts_and_citations_that_the_bibliography_beside_it_resolves(
    paper: tuple[Path, str], place: Path
) -> None:
    tex, _ = paper
    text = tex.read_text(encoding="utf-8")
    assert tex.stem == f"digits-digits-1-{make(place).protocol.hash}"
    assert rf"\label{{tab:{tex.stem}}}" in text and text.isascii()
    assert r"$^\dagger$ Robust accuracy: few restarts (AT)." in text and r"p~$\geq$~0.05" in text
    cited = dict(re.findall(r"^(.*?) \\citep\{(\w+)\}", text, re.M))
    assert cited == CITED
    entries = re.findall(r"^@\w+\{([^,]+),", (tex.parent / "references.bib").read_text(encoding="utf-8"), re.M)
    assert set(cited.values()) <= set(entries)


@pytest.mark.parametrize(
    ("typed", "said"),
    {
        "columns=[fd,robust_acuracy]": ["'robust_acuracy'", "Did you mean robust_accuracy/l2_0.5"],
        "columns=ood/field of=digits under=digits-2": ["'ood/field'", "There are: ece, fd_digits"],
        "columns=ood/feilds under=digits-1": ["Did you mean ood/fields"],
        "columns=": ["no column ''"],
        "methods=[atjm] under=digits-1": ["'atjm'", "Did you mean atjem"],
        "methods=[jem] under=digits-1": ["No row is ready", "JEM: seeds done: 3/4, 1 diverged"],
        "of=digit": ["'digit'", "Did you mean digits"],
        "of=digits under=digits-3": ["'digits-3'", "Did you mean", "digits-1"],
        "figure=wide": ["figure", "'column' or 'page'", "'wide'"],
        "figure=page formats=[pdf,eps]": ["formats", "'eps'"],
        "formats=[svg]": ["formats", "figure=column"],
    }.items(),
)
def test_what_is_unknown_is_refused_with_near_names_and_nothing_is_written(
    report: Callable[..., tuple], typed: str, said: list[str]
) -> None:
    status, out, err, folder = report(*typed.split())
    assert (status, out) == (2, "") and "Traceback" not in err
    assert all(text in err for text in said), err
    assert not folder.exists()


def test_what_only_some_tables_have_is_left_out_of_the_others_and_named(place: Path) -> None:
    choice = Choice(columns=("fd", "ood/"), methods=("atjem", "at"))
    first, second = papers(make_sections(rows(make(place).config)), choice)
    assert first.table.headers == HEADERS[:3] and [row[0].text for row in first.table.rows] == ["AT-JEM (DAT)", "AT"]
    assert second.table.headers == HEADERS[:2] and [row[0].text for row in second.table.rows] == ["AT"]
    assert first.left_out == ["AT (threads=2): not ranked"]
    assert second.left_out == ["atjem: no run", "ood/: no such score"]


def test_a_beginning_of_several_columns_is_refused_unless_only_one_is_in_the_main_table(
    report: Callable[..., tuple], tmp_path: Path
) -> None:
    score = scores(50, 20, 2)
    both = {"ece_other": score["ece"], "fd_other": score["fd_digits"].model_copy(update={"table": "Other"})}
    finish(make(tmp_path), score | both)
    where = f"runs={tmp_path / 'runs'}"
    status, _, err, folder = report(where, "columns=ec")
    assert status == 2 and "'ec' may be ece or ece_other" in err and not folder.exists()
    assert report(where, "columns=ece,fd")[0] == 0
    (path,) = (folder / "tables").glob("*.csv")
    assert next(csv.reader(path.open(encoding="utf-8"))) == ["method", "ECE ↓ %", "FD ↓"]


def test_the_usual_files_stay_as_they_are_beside_those_for_a_paper(report: Callable[..., tuple]) -> None:
    *_, folder = report()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert report("figure=page", "formats=[pdf,svg,png]", "of=digits")[0] == 0
    assert {path: path.read_bytes() for path in before} == before
    further = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path not in before}
    # Of every figure, a file of each format.
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    drawn = {path for path in further if path.parent == Path("figures/page")}
    assert figures and {path.name for path in drawn} == {
        f"{f}.{kind}" for f in figures for kind in ("pdf", "svg", "png")
    }
    # Without columns and methods, the main table of each protocol.
    assert {path.parent for path in further - drawn} == {Path("tables")}
    tables = sorted((folder / "tables").glob("*.csv"))
    heads = [next(csv.reader(path.open(encoding="utf-8"))) for path in tables]
    assert heads == [["method", "Robust accuracy ↑ %", "FD ↓", "ECE ↓ %"]] * 2


def test_points_of_numbers_are_below_each_other() -> None:
    texts = ["99.9 ± 0.0", "7.5 ± 14.7", "7.5", "n/a"]
    tex = for_paper("x", Table("", ["FD"], [[Cell(text, value=0)] for text in texts]))
    rows = [line.removesuffix(r" \\") for line in tex.splitlines() if line.endswith(r"\\")]
    ends = [row.replace(r"\phantom{0}", "0").partition(r"$\pm$ ")[2] for row in rows[1:3]]
    assert r"\begin{tabular}{r}" in tex and len(ends[0]) == len(ends[1]) == len("14.7")
    assert rows[1] == r"99.9 $\pm$ \phantom{0}0.0" and rows[3:] == ["7.5", "n/a"]


def test_long_headers_and_names_take_several_lines_and_wide_tables_both_columns() -> None:
    name = "pretrained (init=" + 30 * "weights/" + ")"
    for columns, place in ((4, "table"), (5, "table*")):
        headers = ["method", *["OOD AUROC, attacked (L2 0.5) ↑ %"] * (columns - 1)]
        tex = for_paper("x", Table("", headers, [[Cell(name), *[Cell("1")] * (columns - 1)]]))
        assert rf"\begin{{{place}}}" in tex and rf"\end{{{place}}}" in tex
        assert r"\shortstack[l]{OOD AUROC,\\attacked\\(L2 0.5)\\$\uparrow$ \%}" in tex
        (label,) = re.findall(r"^\\shortstack\[l\]\{(.*?)\} &", tex.partition(r"\midrule")[2], re.M)
        parts = label.split(r"\\")
        assert max(map(len, parts)) <= 40 and "".join(parts).replace(" ", "") == name.replace(" ", "")


# LaTeX takes minutes to install, so CI does without. On Debian: apt-get install texlive-latex-extra.
@pytest.mark.skipif(not TEX, reason="pdflatex is not installed")
@pytest.mark.parametrize("columns", ["one", "two"])
def test_pdflatex_compiles_it(paper: tuple[Path, str], tmp_path: Path, columns: str) -> None:
    packages = ["booktabs.sty", "adjustbox.sty", "natbib.sty"]
    if subprocess.run(["kpsewhich", *packages], capture_output=True).returncode:
        pytest.skip(f"LaTeX lacks one of {', '.join(packages)}")
    tex, _ = paper
    for file in (tex, tex.parent / "references.bib", tex.parents[1] / "leaderboard.tex"):
        shutil.copy(file, tmp_path)
    document = rf"""\documentclass[{columns}column]{{article}}
\usepackage{{booktabs, adjustbox, natbib}}
\bibliographystyle{{plainnat}}
\begin{{document}}
Table~\ref{{tab:{tex.stem}}}. \input{{{tex.stem}}} \input{{leaderboard}} \bibliography{{references}}
\end{{document}}"""
    (tmp_path / "main.tex").write_text(document, encoding="utf-8")
    for step in ([TEX, "-halt-on-error", "main"], ["bibtex", "main"], *[[TEX, "-halt-on-error", "main"]] * 2):
        done = subprocess.run(step, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    log = (tmp_path / "main.log").read_text(encoding="latin-1")
    assert "undefined" not in log and "Overfull" not in log
    assert "Warning--" not in (tmp_path / "main.blg").read_text(encoding="latin-1")
