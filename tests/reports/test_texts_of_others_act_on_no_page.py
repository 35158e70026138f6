"""Names, notes, reasons, titles and labels are shown as they are in every format, and act on none."""

import csv
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from markdown_it import MarkdownIt
from nasty import TEXTS, texts
from pages import COST, ORIGIN, row

from harness.core.text import markdown, markdown_line, one_line, visible
from harness.evaluation.score import Score, Selection
from harness.reports import html, leaderboard, titles
from harness.reports.csv_table import for_spreadsheets, tidy
from harness.reports.latex import latex
from harness.reports.runpage import page
from harness.reports.tables import Cell, Table
from harness.runs.record import ProtocolTag
from harness.runs.row import Row
from harness.tracking.tags import description

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
ACTIVE = {"html_inline", "html_block", "link_open", "image", "fence", "code_block", "code_inline", "em_open"}


def tokens(text: str) -> list:
    """Return the tokens of markdown, those inside lines too."""
    return [inner for token in PARSER.parse(text) for inner in [token, *(token.children or [])]]


def kinds(text: str) -> set[str]:
    return {token.type for token in tokens(text)}


def lines(text: str) -> list[str]:
    """Return what a reader sees of each line, heading and cell."""
    return ["".join(one.content for one in token.children) for token in PARSER.parse(text) if token.type == "inline"]


def every(check):
    """Try a property with all of TEXTS, not only with some."""
    for text in TEXTS:
        check = example(text=text)(check)
    return given(text=texts)(check)


@every
def test_a_heading_a_line_and_an_item_show_the_text(text: str) -> None:
    seen = [one_line(text)] if one_line(text) else []
    assert lines(f"# {markdown(text)}") == seen or not seen
    assert lines(markdown_line(text)) == seen
    assert lines(f"- {markdown_line(text)}\n- next") == [*seen, "next"]
    assert kinds(f"- {markdown_line(text)}") <= {
        "bullet_list_open", "list_item_open", "paragraph_open", "inline", "text",
        "paragraph_close", "list_item_close", "bullet_list_close",
    }  # fmt: skip


@every
def test_a_table_in_markdown_shows_the_text_in_its_cell(text: str) -> None:
    rows = [[Cell(text), Cell("1")], [Cell("x"), Cell(text, best=True, marks="†")]]
    seen = one_line(text)
    found = lines(Table(text, ["method", text], rows, text).markdown())
    title, note = ([seen], [seen]) if seen else ([], [])
    assert found == [*title, "method", seen, seen, "1", "x", f"{seen} †" if seen else found[-1 - len(note)], *note]


@every
def test_a_spreadsheet_computes_no_text(text: str) -> None:
    scores = {text or "x": Score(title=text, value=-1.5, n=1, better="lower")}
    written = io.StringIO()
    rows = [row_of(text, scores), row_of("plain", {})]
    for_spreadsheets(tidy(rows)).to_csv(written, index=False, lineterminator="\n")
    header, first, _ = csv.reader(io.StringIO(written.getvalue(), newline=""))
    for name, cell in zip(header, first, strict=True):
        assert not name.startswith(tuple("=+-@\t\r"))
        assert not cell.startswith(tuple("=+-@\t\r")) or cell == "-1.5", (name, cell)
    assert "-1.5" in first and visible(written.getvalue()) == written.getvalue()
    assert visible(text) in first or f"'{visible(text)}" in first or text != text.strip()


@every
def test_a_table_in_latex_keeps_its_cells_and_runs_nothing(text: str) -> None:
    rows = [[Cell(text), Cell("1")], [Cell(text, best=True), Cell(text, marks="†")]]
    written = latex([(text, Table(text, ["method", text], rows, text))])
    body = [line for line in written.splitlines() if line.endswith(r" \\")]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in body] == [1, 1, 1]
    assert not any(line.startswith(("[", "*")) for line in body)
    bare = re.sub(r"\\(\\|[&%$#_{}])", "", written)
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    known = {"begin", "end", "centering", "caption", "textwidth", "toprule", "midrule", "bottomrule", "textbf"}
    known |= {"setlength", "belowcaptionskip", "linewidth", "phantom", "shortstack"}
    signs = {"dagger", "textbackslash", "textasciitilde", "textasciicircum", "uparrow", "downarrow", "pm", "times"}
    commands = re.findall(r"\\([a-zA-Z]+)", re.sub(r"\\\\", "", written.partition("\n\n")[2]))
    assert set(commands) <= known | signs | {"cdot", "diamond", "epsilon", "sigma"}


@every
def test_a_description_in_mlflow_shows_the_text(text: str) -> None:
    one = row_of(text, {"x": Score(title=text, value=1, n=1, better="lower", warnings=[text])})
    run = SimpleNamespace(config=SimpleNamespace(command="c"), folder="runs/x")
    for found in tokens(description(run, one, "id")):  # pyright: ignore[reportArgumentType]
        assert found.type not in ACTIVE - {"fence", "code_inline"}
        assert not found.type.startswith(("heading", "bullet", "ordered", "blockquote"))
    (block,) = [one for one in tokens(description(run, one, "id")) if one.type == "fence"]
    assert block.content == "c\n"


@given(text=texts)
def test_a_command_stays_in_its_block(text: str) -> None:
    run = SimpleNamespace(config=SimpleNamespace(command=text), folder="runs/x")
    parsed = tokens(description(run, row_of("a", {}), "id"))  # pyright: ignore[reportArgumentType]
    assert [one.type for one in parsed if one.type in ("fence", "html_block", "heading_open")] == ["fence"]


def row_of(text: str, scores: dict[str, Score], **fields: object) -> Row:
    """Return a row that holds the text wherever a record holds one; names are checked when it is read."""
    facts = dict.fromkeys(("method", "model", "reason", "overrides", "code", "init", "series"), text)
    hash = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]
    protocol = ProtocolTag(id="digits-1", hash=hash, label=text)
    origin = ORIGIN.model_copy(update={"hardware": text, "command": text, "commit": text, "python": text})
    selection = {text: Selection(by=text, split=["validation"])}
    cost = COST.model_copy(update={"stages": [COST.stages[0].model_copy(update={"name": text})]})
    given: dict = {**facts, "name": "a-digits-s0-f", "fingerprint": text, "data": "digits", "seed": 0, "state": "done"}
    more: dict = {"doubts": [text], "canaries": {text: 1.0}, "notes": {text: text}, "selection": selection}
    return Row(**{**given, **more, "protocol": protocol, "origin": origin, "cost": cost, "scores": scores, **fields})


class Tags(HTMLParser):
    """The tags of a page with the names of their attributes, its links, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, *sorted(name for name, _ in attrs)))
        self.links += [value for name, value in attrs if name in ("href", "src", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


@every
def test_a_page_of_a_run_has_the_same_tags_whatever_the_text(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("page")

    def parsed(word: str) -> Tags:
        score = Score(title=word, value=1, n=1, better="lower", table=word, warnings=[word])
        one = row_of(word, {"x": score}, study={word: 1.0})
        page(folder / "page.html", one, [one, row_of(word, {}, name="b-digits-s1-f")], None)
        return Tags((folder / "page.html").read_text(encoding="utf-8"))

    found, plain = parsed(text), parsed("plain" if text else "")
    assert found.tags == plain.tags and found.links == plain.links
    assert re.sub(r"\s+", " ", visible(text)).strip() in re.sub(r"\s+", " ", found.text)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of runs that hold every nasty text, in every place."""
    root = tmp_path_factory.mktemp("all")
    found = []
    for number, text in enumerate(TEXTS):
        score = Score(title=text, unit="%", value=50, n=9, better="higher", warnings=[text])
        base = row(root / "runs", "at", number, series=f"s{number}")
        facts = row_of(text, {"robust_accuracy/l2_0.5": score, f"{text}/x": score.model_copy(update={"table": text})})
        found.append(
            Row(**{**vars(facts), "name": base.name, "find": base.find, "seed": number, "series": f"s{number}"})
        )
    overview, parts = leaderboard._write(root / "reports", found, leaderboard.make_sections(found))
    html.write(root / "reports", parts, [])
    (root / "reports" / "LEADERBOARD.md").write_text(leaderboard._join(overview), encoding="utf-8")
    return root


@pytest.mark.filterwarnings("ignore:Glyph")
def test_all_pages_are_written_below_their_folder(reports: Path) -> None:
    assert {path.name for path in reports.iterdir()} == {"runs", "reports"}
    assert {path.name for path in (reports / "reports").iterdir()} >= {"LEADERBOARD.md", "pages", "leaderboard.html"}
    assert all(path.parent == reports / "reports" / "pages" for path in (reports / "reports" / "pages").rglob("*.md"))
    assert len(list((reports / "reports" / "pages").glob("*.md"))) == len(TEXTS)


def test_no_page_of_markdown_has_a_link_or_a_picture_of_others(reports: Path) -> None:
    for path in [reports / "reports" / "LEADERBOARD.md", *(reports / "reports" / "pages").glob("*.md")]:
        for token in tokens(path.read_text(encoding="utf-8")):
            assert token.type not in ("html_inline", "html_block", "fence", "code_block"), path
            for link in filter(None, [token.attrGet("href"), token.attrGet("src")]):
                assert (path.parent / str(link)).resolve().is_relative_to(reports), link


def test_the_page_of_all_runs_has_only_our_links(reports: Path) -> None:
    found = Tags((reports / "reports" / "leaderboard.html").read_text(encoding="utf-8"))
    assert {link.partition("/")[0] for link in found.links if link[0] != "#"} <= {"runs", "data:image", "data:,"}
    assert sum(tag == "script" for tag, *_ in found.tags) == 1
    assert not any(name.startswith("on") for _, *names in found.tags for name in names)


@every
def test_a_citation_is_a_key_or_none(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(titles, "_heads", lambda: {"at": {"cite": text}, "jem": {"cite": "grathwohl2020:jem-1"}})
        assert re.fullmatch(r"[\w.:+/-]*", titles.cite("at"), re.ASCII)
        assert titles.cite("jem") == "grathwohl2020:jem-1"
