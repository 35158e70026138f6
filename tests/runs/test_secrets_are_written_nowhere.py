"""A password gets into neither the run folders nor the tracking store nor the output."""

from pathlib import Path

import pytest
from commandline import harness, quick
from recorded import make

import harness as api
from harness import tracking
from harness.core.errors import UserError

SECRET = "correct-horse-battery"
VARIABLES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD", "API_KEY")

TELLING = [
    f"http://user:{SECRET}@example.org:5000",
    f"https://{SECRET}@example.org",
    f"https://example.org/mlflow?token={SECRET}",
    f"https://user:a/b@{SECRET}@example.org",
    f"postgresql://user:{SECRET}@example.org/mlflow",
    f"mysql+pymysql://:{SECRET}@example.org/mlflow",
    f"postgresql://example.org/mlflow?user=me&password={SECRET}",
    f"databricks://{SECRET}@profile",
    f"user:{SECRET}@example.org:5000",
    f"https://example.org/#access_token={SECRET}",
]

HARMLESS = [
    "http://127.0.0.1:5000",
    "https://example.org/mlflow",
    "postgresql://user@example.org:5432/mlflow",
    "sqlite:////home/me@example.org/a:b/mlflow.db",
    "databricks://profile",
    None,
]


def written(folder: Path) -> bytes:
    """Return everything in a folder and its subfolders, including the names of files."""
    return b"\n".join(str(p).encode() + (p.read_bytes() if p.is_file() else b"") for p in folder.rglob("*"))


@pytest.mark.parametrize("uri", TELLING)
def test_a_tracking_uri_with_a_password_is_refused_in_words_that_do_not_repeat_it(uri, tmp_path):
    with pytest.raises(UserError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        api.plan("method=at", f"runs={tmp_path}", f"tracking='{uri}'")
    assert SECRET not in str(refused.value)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_PASSWORD"):
        tracking.uri(make(tmp_path, tracking=uri).config)


@pytest.mark.parametrize("uri", HARMLESS)
def test_one_without_is_taken(uri, tmp_path):
    assert tracking.uri(make(tmp_path, tracking=uri).config).startswith(uri or "sqlite:///")


@pytest.mark.parametrize("verb", ["run", "plan", "report", "status"])
def test_a_refused_password_is_neither_written_nor_printed(verb, type_, tmp_path):
    (tmp_path / "runs").mkdir()
    status, out, err = type_(verb, f"tracking=http://user:{SECRET}@127.0.0.1:9")
    assert status == (0 if verb == "status" else 2)
    assert SECRET not in out + err + written(tmp_path).decode()
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("tracked", [["tracking=null"], ["tracking=http://127.0.0.1:9"]], ids=["sqlite", "server"])
def test_passwords_of_the_environment_are_neither_written_nor_printed_nor_tracked(tracked, tmp_path, monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, SECRET)
    kept = [override for override in quick("at", steps=4) if not override.lstrip("+").startswith("protocol.")]
    bounds = "method.robust.training.bound=100,1e-9"  # the second run diverges
    _, out, err = harness("-m", *kept, "protocol=digits_stability", *tracked, bounds, folder=tmp_path)
    assert SECRET not in out + err
    everything = written(tmp_path)
    assert b'"done"' in everything and b'"diverged"' in everything and SECRET.encode() not in everything


def test_a_run_that_fails_tells_no_password(tmp_path, monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, SECRET)
    with monkeypatch.context() as broken:
        from harness.methods.at import Robust

        broken.setattr(Robust, "loss", lambda *_: 1 / 0)
        (run,) = api.plan(*quick("at", steps=4), f"runs={tmp_path}", "tracking=http://127.0.0.1:9")
        with pytest.raises(Exception, match="ZeroDivisionError"):
            api.run(run)
    everything = written(tmp_path)
    assert b"ZeroDivisionError" in everything and SECRET.encode() not in everything
