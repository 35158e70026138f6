"""The flags are -m (anywhere), --cfg job, --config-dir, --help and --version; every other flag is refused by name."""

import pytest

from harness.cli.completion import candidates
from harness.runs.compose import compose


@pytest.mark.parametrize(
    "typed",
    [
        "plan -m method=at seed=0,1",
        "plan method=at -m seed=0,1",
        "plan method=at seed=0,1 -m",
        "-m plan method=at seed=0,1",
    ],
)
def test_m_is_taken_anywhere(typed, type_):
    status, told, err = type_(*typed.split())
    assert (status, err) == (0, "") and "2 runs" in told


def test_without_it_several_values_are_refused(type_):
    status, _, err = type_("plan", "method=at", "seed=0,1")
    assert status == 2 and "seed=0,1" in err and "-m" in err


@pytest.mark.parametrize(
    "flag",
    ["--experimental-rerun=x.pickle", "--info", "--hydra-help", "-sc", "--package=x", "--run", "--resolve", "--wacth"],
)
@pytest.mark.parametrize("verb", ["run", "plan", "status"])
def test_other_flags_are_refused_by_name(flag, verb, type_, tmp_path):
    (tmp_path / "x.pickle").write_bytes(b"cos\nmkdir\n(S'made'\ntR.")
    status, _, err = type_(verb, "method=at", flag)
    assert status == 2 and flag.partition("=")[0] in err and not (tmp_path / "made").exists()


@pytest.mark.parametrize("typed", ["stauts", "exprot --help", "plna method=at"])
def test_an_unknown_verb_is_refused_with_near_names(typed, type_):
    status, out, err = type_(*typed.split())
    assert (status, out) == (2, "") and f"There is no command '{typed.split()[0]}'" in err
    assert "Did you mean" in err


def test_cfg_job_shows_the_config_that_is_composed(type_):
    status, told, _ = type_("method=at", "seed=1e3", "--cfg", "job")
    assert status == 0 and "seed: 1000" in told and "name: at" in told
    assert type_("method=at", "seed=1000", "--cfg=job")[1].splitlines()[:30] == told.splitlines()[:30]


def test_cfg_of_something_else_is_refused(type_):
    assert type_("--cfg", "all")[0] == 2


def test_the_python_api_never_leaves(tmp_path):
    for arguments in (["--config-dir=nowhere"], ["--cfg", "job"], ["--help"]):
        with pytest.raises(Exception, match=r"no such folder|no flag"):
            compose(arguments)


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("harness sta", ["status"]),
        ("harness plan method=at", ["at", "atebm", "atjem"]),
        ("harness method=at,je", ["at,jem", "at,jempp"]),
        ("harness method=jem method.energy.chains.b", ["method.energy.chains.buffer="]),
        ("harness se", ["search", "seed=", "selection="]),
    ],
)
def test_tab_completes(line, some):
    assert candidates(line) == some
