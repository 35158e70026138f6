"""Published numbers are shown with protocol, source and trust, separate from our runs, and are never ranked."""

from dataclasses import replace
from math import isfinite
from pathlib import Path

import pytest
from recorded import JEM, finish, make, scores

from harness.reports import leaderboard, published
from harness.reports.tables import FRONT

PEERS = ("JEM", "JEM++", "SADA-JEM", "RATIO", "EGC", "EB-JDAT", "DAT", "BigGAN", "ADM", "LDM", "DiT", "VAR-d16")


def test_each_number_is_one_of_a_known_kind_with_protocol_source_and_trust() -> None:
    columns = {name for metrics in published.METRICS.values() for name in metrics}
    for one in published.everything():
        assert one.column in columns, one
        assert one.method and one.protocol and one.source, one
        assert isfinite(one.value) and 0 <= one.value <= (1000 if one.metric in ("IS", "params_M") else 500), one
        if one.metric in ("clean_acc", "robust_acc", "ECE_percent") or one.metric.startswith("OOD"):
            assert 1 < one.value <= 100, f"not a percentage: {one}"
        assert one.trust in ("primary", "second-hand") and "from memory" not in one.source, one
        if any(word in one.source for word in ("secondary", "note and", "HybViT", "EGC note", "comparison table")):
            assert one.trust == "second-hand", one
        assert not one.threat or (one.metric == "robust_acc" and "AutoAttack" in one.protocol), one
    assert published.datasets() == ["cifar10", "cifar100", "imagenet224", "imagenet256", "imagenet320"]


@pytest.mark.parametrize("peer", PEERS)
def test_the_peers_are_there(peer: str) -> None:
    assert any(one.method.startswith(peer) for one in published.everything())


def test_second_hand_numbers_are_marked_and_none_is_best_or_on_the_front() -> None:
    marked = 0
    for data in published.datasets():
        found = published.of(data)
        cells = [cell for table in published.tables(found) for row in table.rows for cell in row]
        assert not any(cell.best or FRONT in cell.marks for cell in cells)
        told = [cell for cell in cells if isfinite(cell.value)]
        assert sorted(cell.value for cell in told) == sorted(one.value for one in found), "all of them, each once"
        marked += sum(published.SECOND_HAND in cell.marks for cell in told)
    assert marked == sum(one.trust == "second-hand" for one in published.everything()) > 0


def test_protocols_and_sources_are_numbered_as_their_footnotes_say() -> None:
    found = published.of("cifar10")
    notes = dict(note.split(": ", 1) for note in published.footnotes(found))
    for table in published.tables(found):
        for row in table.rows:
            *_, protocol, sources = (cell.text for cell in row)
            lines = [
                one for one in found if one.method == row[0].text and one.protocol == notes[f"Protocol {protocol}"]
            ]
            assert {notes[f"Source {number}"] for number in sources.split(", ")} <= {one.source for one in lines}


def test_points_of_the_trade_off_are_primary_and_under_the_same_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"robust_accuracy/{threat}" for threat in published.THREATS]
    assert not any(published.points(data, key) for data in published.datasets() for key in keys), "none is primary"
    found = [replace(one, trust="primary") for one in published.of("cifar10")]
    monkeypatch.setattr(published, "of", lambda data: found)
    names = [name for name, *_ in published.points("cifar10", "robust_accuracy/l2_0.5")]
    assert "DAT T=50 (WRN-34-10)" in names and not any("EB-JDAT" in name for name in names)
    assert published.points("cifar10", "robust_accuracy/l2_0.4") == []


def test_a_page_of_the_same_data_shows_them_apart_and_ranks_our_runs_alone(tmp_path: Path) -> None:
    cifar = {"data": {"name": "cifar10"}}
    finish(make(tmp_path, 1, **cifar), scores(11.0, 300.0, 40.0))
    for seed, robust in enumerate((1.0, 2.1)):
        finish(make(tmp_path, seed, method=JEM, **cifar), scores(robust, 300.0, 40.0))
    run = finish(make(tmp_path, **cifar), scores(10.0, 300.0, 40.0))
    finish(make(tmp_path), scores(10.0, 300.0, 40.0))
    page = leaderboard.write(run.config).page
    ours = page.read_text(encoding="utf-8").split("\n## ")[1]
    assert "| AT ◆" in ours and "**10.5 ± 0.7**" in ours, "the best of ours must be bold, however poor"
    others = {path.name: path.read_text(encoding="utf-8") for path in (page.parent / "pages").iterdir()}
    for name, text in others.items():
        apart = text.partition(f"## {published.HEADING}")[2]
        assert ("DAT T=50" in apart) == name.startswith("cifar10")
    for name in ("LEADERBOARD.md", "leaderboard.csv", "leaderboard.tex"):
        assert "DAT T=50" not in (page.parent / name).read_text(encoding="utf-8"), name
    assert "DAT T=50" in (page.parent / "published.md").read_text(encoding="utf-8")
