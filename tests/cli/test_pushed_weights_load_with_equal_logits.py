"""push writes weights, config, record and card to a folder or a hub; they load by init with the logits of the run."""

import json
import re
import shlex
from dataclasses import replace

import pytest
import torch
import yaml
from commandline import bare
from weights_server import serving

import harness as api
from harness.core.files import sha256
from harness.reports.card import card
from harness.runs import record
from harness.runs.publish import without_places
from harness.runs.run import Run

LICENCE = "licence=cc-by-4.0"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pushed")
    (run,) = api.plan(*bare("at", 2), "model.activation=silu", "data.pad=2", "model.mean=[0.4]", f"runs={folder}")
    api.run(run)
    return run


@pytest.fixture
def logits(run):
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = api.load(run.folder)(images)
    return lambda address, overrides: torch.equal(api.load(address, *overrides)(images), expected)


def overrides(text):
    """The overrides that a card tells to load with."""
    block = re.search(r"harness\.load\((.*?)\n\)", text, re.S)[1]
    return json.loads(f"[{block.rstrip().rstrip(',')}]")[1:]


def test_a_folder_loads_as_its_card_says(run, logits, type_, tmp_path):
    status, out, err = type_("push", str(run.folder), "to=published", LICENCE)
    assert status == 0, err
    assert "init=published/model.safetensors" in out
    folder = tmp_path / "published"
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.yaml", "record.json", "README.md"}
    text = (folder / "README.md").read_text()
    assert {"data=digits", "model=digits", "model.width=4", 'model.activation="silu"'} <= {*overrides(text)}
    assert logits(folder / "model.safetensors", overrides(text))


def test_the_card_says_what_the_record_says(run, type_, tmp_path):
    type_("push", str(run.folder), "to=published", LICENCE)
    text, result = (tmp_path / "published" / "README.md").read_text(), record.read(run.folder / "record.json")
    head = yaml.safe_load(text.split("---")[1])
    assert head["license"] == "cc-by-4.0" and "energy-based-model" in head["tags"]
    for score in result.scores.values():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {score.title} ")]
        assert f"{score.value:.2f}" in line and f"| {score.n} |" in line
        assert score.low is None or f"[{score.low:.2f}, {score.high:.2f}]" in line
    for part in (
        result.protocol.hash, sha256(tmp_path / "published" / "model.safetensors"), result.cost.stages[0].name,
        "## Intended use", "CC BY 4.0; Alpaydin", "@inproceedings{madry2018towards", "random, drawn from the seed",
        f"commit {result.origin.commit}",
    ):  # fmt: skip
        assert part in text, part


def test_nothing_pushed_says_where_it_was_made(run, type_, tmp_path):
    type_("push", str(run.folder), "to=published", LICENCE)
    for path in (tmp_path / "published").iterdir():
        assert str(run.root).encode() not in path.read_bytes(), path
    config = yaml.safe_load((tmp_path / "published" / "config.yaml").read_text())
    assert config["seed"] == 0 and config["model"]["width"] == 4 and not {"runs", "tracking", "device"} & {*config}
    assert record.read(tmp_path / "published" / "record.json").scores == record.read(run.folder / "record.json").scores


def test_places_are_left_out_of_commands_and_addresses_of_weights_stay():
    words = shlex.split(
        "python -m harness method=at data.root=/a runs=b init=c.pt tracking=http://h --config-dir=/d seed=1"
    )
    assert without_places(words) == ["python", "-m", "harness", "method=at", "seed=1"]
    assert without_places(["init='hub:a/b@c'", "--config-dir", "/d"]) == ["init='hub:a/b@c'", "--config-dir"]


def test_a_hub_takes_it_and_gives_it_back(run, logits, type_, tmp_path, monkeypatch):
    with serving() as server:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("HF_TOKEN", "hf_nothing")
        status, out, err = type_("push", str(run.folder), "to=hub:someone/net", LICENCE)
        assert status == 0, err
        (made,) = server.created
        assert made.get("private") or made.get("visibility") == "private"
        address = re.search(r"init=(hub:someone/net@[0-9a-f]{40})", out)[1]
        card = server.files[f"/someone/net/resolve/{address[-40:]}/README.md"].decode()
        assert '"hub:someone/net@COMMIT"' in card
        assert logits(address, overrides(card))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["to=published"], "push needs licence="),
        ([LICENCE], "push needs to="),
        (["to=.", LICENCE], "exists already"),
        (["to=https://a.org", LICENCE], "a folder or hub:OWNER/NAME"),
        (["to=published", "licence='a b'"], "licence must be a name"),
    ],
)
def test_what_cannot_be_pushed_is_explained(words, message, run, type_, tmp_path):
    (tmp_path / "here").touch()
    status, _, told = type_("push", str(run.folder), *words)
    assert status == 2 and message in told and "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_run_that_is_not_done_is_not_pushed(type_, tmp_path):
    (run,) = api.plan("method=at", f"runs={tmp_path / 'runs'}")
    run.freeze()
    status, _, told = type_("push", str(run.folder), "to=published", LICENCE)
    assert status == 2 and "no scores for a card" in told and not (tmp_path / "published").exists()


def test_damaged_weights_are_not_pushed(run, type_, tmp_path):
    path = run.stage_runs[-1].folder / "weights.safetensors"
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        status, _, told = type_("push", str(run.folder), "to=published", LICENCE)
    finally:
        path.write_bytes(before)
    assert status == 2 and "is damaged" in told and not (tmp_path / "published").exists()


def test_initial_weights_of_the_zoo_bring_their_licence_and_citation(run, monkeypatch):
    begun = Run(replace(run.config, init="zoo:wang2023-l2-wrn28-10", init_digest=64 * "a"), run.names)
    text = card(begun, record.read(run.folder / "record.json").model_copy(update={"init": 64 * "a"}), "mit", "0", "x")
    assert "Wang et al." in text and "Initial weights: MIT of the code" in text and f"sha256 `{64 * 'a'}`" in text


def test_weights_that_were_only_judged_are_not_pushed(run, type_, tmp_path):
    path = run.stage_runs[-1].folder / "weights.safetensors"
    quick = [word for word in bare("at", 2) if "method" not in word]
    begun = ["method=pretrained", f"init={path}", "init_accuracy=0", "model.activation=silu"]
    (judged,) = api.plan(*quick, *begun, f"runs={tmp_path / 'runs'}")
    api.run(judged)
    status, _, told = type_("push", str(judged.folder), "to=published", LICENCE)
    assert status == 2 and "trained nothing" in told
