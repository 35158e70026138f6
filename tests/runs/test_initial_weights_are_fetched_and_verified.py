"""init=hub:…, https:… and zoo:…: fetched once, refused with another sha256; the content alone names the run."""

import hashlib
import io
from dataclasses import replace

import pytest
import torch
from commandline import quick
from weights_server import serving

import harness as api
from harness.core.errors import UserError
from harness.models.digits import Digits as DigitsNet
from harness.models.dm_wrn import DMWRN
from harness.runs import fetch
from harness.runs.build import check_accuracy, initial
from harness.runs.compose import compose
from harness.runs.zoo import ZOO, Known

COMMIT = "0123456789" * 4
NET = ("data=digits", "model.width=4", "tracking=off")


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def content():
    """A file in the layout that other people publish."""
    torch.manual_seed(5)
    stream = io.BytesIO()
    state = DigitsNet(10, 1, 4, "batch", "relu").state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, stream)
    return stream.getvalue()


@pytest.fixture(autouse=True)
def _caches(server, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    server.asked.clear()


@pytest.fixture
def addresses(server, content, monkeypatch):
    """The same file by each kind of address."""
    url = server.put("/robust.pt", content)
    server.put(f"/someone/robust/resolve/{COMMIT}/model.safetensors", content)
    server.put(f"/someone/robust/resolve/{COMMIT}/nets/small.pt", content)
    address, _, sha256 = url.partition("@sha256:")
    for name, digest in (("noted", sha256), ("unnoted", ""), ("wrong", 64 * "0")):
        monkeypatch.setitem(ZOO, name, Known(address, NET[:2], 90, "MIT", "A. Author, 2026", digest))
    hub = f"hub:someone/robust@{COMMIT}"
    return {"url": url, "hub": hub, "hub file": f"{hub}:nets/small.pt", "zoo": "zoo:noted", "path": address}


def planned(init, folder):
    (run,) = api.plan("method=pretrained", f"init='{init}'", f"runs={folder}", *NET)
    return run


def test_every_address_gives_the_run_that_the_file_itself_gives(addresses, content, server, tmp_path):
    (tmp_path / "robust.pt").write_bytes(content)
    expected = planned(tmp_path / "robust.pt", tmp_path)
    for kind in ("url", "hub", "hub file", "zoo"):
        run = planned(addresses[kind], tmp_path)
        assert run.init == hashlib.sha256(content).hexdigest(), kind
        assert run.fingerprint == expected.fingerprint and run.config.init == addresses[kind]
        model = api.load(addresses[kind], *NET)
        images = torch.rand(3, 1, 8, 8)
        torch.testing.assert_close(model(images), api.load(tmp_path / "robust.pt", *NET)(images), rtol=0, atol=0)
    fetched = [request for request in server.asked if request.removeprefix("GET ") in server.files]
    assert fetched.count("GET /robust.pt") == 1  # the zoo's file is the url's
    assert len(fetched) == len(set(fetched))


def test_weights_in_dm_ats_layout_load_from_the_zoo_and_from_a_hub(server, monkeypatch):
    net, stream = DMWRN(10, 3, 10, 1, "silu", 0.01).eval(), io.BytesIO()
    torch.save({"model_state_dict": {f"module.0.{name}": value for name, value in net.state_dict().items()}}, stream)
    address, _, sha256 = server.put("/cifar10_l2_wrn.pt", stream.getvalue()).partition("@sha256:")
    server.put(f"/someone/at/resolve/{COMMIT}/checkpoint/l2.pt", stream.getvalue())
    entry = ZOO["wang2023-l2-wrn28-10"]
    fits = [word for word in entry.fits if "depth" not in word and "widen" not in word]
    monkeypatch.setitem(ZOO, "wang2023-l2-wrn28-10", replace(entry, address=address, sha256=sha256))

    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)))
    for word in ("zoo:wang2023-l2-wrn28-10", f"hub:someone/at@{COMMIT}:checkpoint/l2.pt"):
        model = api.load(word, *fits, "model.depth=10", "model.widen=1")
        torch.testing.assert_close(model(images), net((images - mean) / std))


@pytest.mark.parametrize("kind", ["url", "zoo", "hub"])
def test_what_was_fetched_needs_no_network(kind, addresses, server, tmp_path):
    first = fetch.local(addresses[kind])
    server.asked.clear()
    assert fetch.local(addresses[kind]) == first
    assert server.asked == []


@pytest.mark.parametrize(
    "word", ["zoo:wrong", f"hub:someone/robust@{COMMIT}@sha256:{64 * 'a'}", "{path}@sha256:" + 64 * "b"]
)
def test_another_sha256_is_refused(word, addresses, tmp_path):
    word = word.format(**addresses)
    with pytest.raises(UserError, match=r"is refused: .* has the sha256"):
        planned(word, tmp_path)
    assert not [path for path in tmp_path.rglob("checkpoints/*") if not path.name.startswith(".")]


def test_a_file_that_changed_in_the_cache_is_refused(addresses):
    path = fetch.local(addresses["url"])
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match="is refused"):
        fetch.local(addresses["url"])


def test_a_file_brought_by_hand_is_taken(addresses, content, server):
    sha256 = hashlib.sha256(content).hexdigest()
    with pytest.raises(UserError, match=r"could not be downloaded.*init=PATH.*copy it to (.*)/checkpoints/") as error:
        fetch.local(f"{server.url}/away.pt@sha256:{sha256}")
    path = fetch.local(addresses["url"])
    assert str(path) in str(error.value)
    assert fetch.local(f"{server.url}/away.pt@sha256:{sha256}") == path


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("zoo:noted2", "no weights of that name. Did you mean noted"),
        ("zoo:unnoted", "sha256, which is not known here.*zoo:unnoted@sha256:DIGEST"),
        ("{path}", "needs the file's sha256"),
        ("{path}@sha256:12", "64 digits"),
        ("https://[::1@sha256:" + 64 * "a", "could not be downloaded"),
        ("hub:someone/robust@main", "COMMIT is the 40 digits"),
        ("hub:someone/robust", "COMMIT is the 40 digits"),
        ("hub:someone/robust@" + COMMIT + ":../../secret", "not of the form"),
        ("hub:someone/robust@" + COMMIT + ":nothing.pt", "hf download someone/robust nothing.pt"),
    ],
)
def test_what_cannot_be_fetched_is_explained(word, message, addresses, type_, tmp_path):
    address = word.format(**addresses)
    status, shown, told = type_("plan", "method=pretrained", f"init='{address}'", *NET)
    # A plan asks no server, so that it cannot know that a well-formed address leads nowhere.
    assert status == (0 if "download" in message else 2)
    assert "is not on this machine yet" in shown or status == 2
    with pytest.raises(UserError, match=message):
        fetch.local(word.format(**addresses))
    assert "Traceback" not in told and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "secret", ["https://me:hush@a.org/x.pt", "https://a.org/x.pt?key=hush", "https://a.org/x#hush"]
)
def test_an_address_with_a_secret_is_refused_in_words_that_do_not_repeat_it(secret):
    for word in (secret, f"{secret}@sha256:1", f"{secret}@sha256:{64 * 'a'}"):
        with pytest.raises(UserError, match="everybody could read") as refused:
            fetch.local(word)
        assert "hush" not in str(refused.value)


def test_no_more_is_read_than_the_largest_file_has(addresses, server, monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "LARGEST", 1000)
    for kind in ("url", "hub"):
        with pytest.raises(UserError, match="1,000"):
            fetch.local(addresses[kind])
    assert not any(path.stat().st_size >= 1000 for path in tmp_path.rglob("*") if path.is_file())


def test_the_zoos_accuracy_is_asked_of_its_weights(addresses, tmp_path):
    run = planned("zoo:noted", tmp_path)
    with pytest.raises(UserError, match="at least 87 %"):
        check_accuracy(run, initial(run))


def test_weights_of_the_zoo_that_do_not_fit_say_what_does(addresses, tmp_path):
    with pytest.raises(UserError, match=r"zoo:noted fits data=digits model.width=4"):
        api.plan(*quick("atjem", 2), "model.width=8", "init=zoo:noted", f"runs={tmp_path}")


@pytest.mark.parametrize("name", sorted(ZOO))
def test_an_entry_of_the_zoo_is_complete(name):
    entry = ZOO[name]
    assert entry.address.startswith(("https://", "hub:")) and entry.licence and "arXiv:" in entry.citation
    assert len(entry.sha256) in (0, 64) and 50 < entry.accuracy < 100
    (config,) = compose(["method=pretrained", *entry.fits])
    assert config.model["name"]
