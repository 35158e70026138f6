"""Runs in processes of their own give the records of runs in this process; a shared stage is trained once."""

from commandline import harness, quick

from harness import record


def test_processes_and_local_agree(tmp_path):
    records = {}
    for launcher in ("local", "processes"):
        folder = tmp_path / launcher
        folder.mkdir()
        overrides = ["method=at,atjem,generative", *quick("at", steps=12)[1:], f"launcher={launcher}"]
        status, out, err = harness("-m", *overrides, folder=folder)
        assert status == 0, out + err
        found = [record.read(path) for path in folder.glob("runs/*/record.json")]
        records[launcher] = sorted((one.result() for one in found), key=lambda one: str(one["method"]))
        assert len(list(folder.glob("runs/stages/robust-*"))) == 1
    assert len(records["local"]) == 3
    assert records["local"] == records["processes"]
