"""Parts of packages and of folders are found without importing anything; a name that is taken is refused, with both."""

import os
import subprocess
import sys
from importlib import import_module, metadata, resources
from pathlib import Path

import pytest

import harness
from harness.core import providers
from harness.launch.snapshot import environment, snapshot
from harness.runs import code

METRIC = 'class {name}:\n    """A metric of {package}."""\n'


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that installs a package with entry points, in a folder from which Python imports."""

    def install(package, points, modules=()):
        files = {f"{package}/__init__.py": "raise RuntimeError('imported')", **dict(modules)}
        files[f"{package}-1.dist-info/METADATA"] = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n"
        files[f"{package}-1.dist-info/entry_points.txt"] = points
        for name, text in files.items():
            path = tmp_path / "site" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        providers.installed.cache_clear()

    monkeypatch.syspath_prepend(tmp_path / "site")
    yield install
    providers.installed.cache_clear()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for --config-dir, which this process forgets after the test."""
    for room in providers.ROOMS.values():
        package = import_module(room)
        monkeypatch.setattr(package, "__path__", [*package.__path__])
    monkeypatch.setenv(providers.FOLDERS, "")
    yield tmp_path / "own, [1]"
    sys.modules.pop("harness.methods.my_own", None)


def put(folder, name, text):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def metric(package, name):
    points = f"[ebm_harness.metrics]\n{name} = {package}.them\n"
    return package, points, {f"{package}/them.py": METRIC.format(name=name.title(), package=package)}


def test_types_are_given_to_packages():
    assert "py.typed" in {path.name for path in resources.files("harness").iterdir()}


def test_a_list_imports_nothing_of_a_package(install, type_):
    install(*metric("theirs", "sharpness"))
    status, told, _ = type_("list")
    assert status == 0 and "sharpness A metric of theirs. (package theirs 1)" in " ".join(told.split())


@pytest.mark.parametrize("name, owner", [("sharpness", "package theirs 1"), ("accuracy", "the harness")])
def test_a_metric_of_two_owners_is_refused(name, owner, install, type_):
    for package in ("theirs", "others"):
        install(*metric(package, name))
    status, told, error = type_("list")
    assert (status, told) == (2, "") and error.count("\n") == 1
    assert f"metric={name}: " in error and owner in error and "package others 1" in error


def test_a_module_is_a_package_without_configs(install, type_, tmp_path):
    install(
        "theirs",
        "[ebm_harness.metrics]\nsharpness = single\n",
        {"single.py": METRIC.format(name="Sharpness", package="one")},
    )
    status, told, _ = type_("list")
    assert status == 0 and "sharpness A metric of one. (package theirs 1)" in " ".join(told.split())
    assert (snapshot(tmp_path) / "single.py").is_file()


def test_a_variant_that_only_a_yaml_names_is_taken_too(install, type_):
    install("theirs", "[ebm_harness.datasets]\ncifar10 = theirs.them\n", {"theirs/them.py": ""})
    status, _, error = type_("list")
    assert status == 2 and "data=cifar10" in error and "cifar10.yaml of the harness" in error


@pytest.mark.parametrize("file", ["method/at.yaml", "method/replay.py", "recipe/at_digits.yaml"])
def test_a_name_of_a_folder_that_is_taken_is_refused(file, folder, type_):
    put(folder, file, "")
    for verb in ("list", "plan"):
        status, _, error = type_(verb, f"--config-dir={folder}")
        assert status == 2 and f"{folder / file} of --config-dir={folder}" in error and "of the harness" in error


@pytest.fixture
def strict(monkeypatch):
    """Entry points that are checked when they are read, as those of newer versions of importlib-metadata are."""
    plain = metadata.EntryPoint.__init__

    def checked(self, name, value, group):
        plain(self, name, value, group)
        if not self.pattern.match(value):
            raise ValueError("Invalid object reference.", value)

    monkeypatch.setattr(metadata.EntryPoint, "__init__", checked)


@pytest.mark.parametrize("finder", ["lenient", "strict"])
@pytest.mark.parametrize("point", ["two words = theirs.them", "x = theirs them", "x = theirs.gone", "x = gone"])
def test_a_wrong_entry_point_is_told_with_its_package(point, finder, install, type_, request):
    if finder == "strict":
        request.getfixturevalue("strict")
    install("theirs", f"[ebm_harness.methods]\n{point}\n", {"theirs/them.py": ""})
    status, _, error = type_("list")
    assert status == 2 and "package theirs 1 has an entry point" in error and error.count("\n") == 1


def test_a_wrong_entry_point_of_a_package_that_has_nothing_for_us_is_no_matter(strict, install, type_):
    install("theirs", "[console_scripts]\nx = theirs them\n", {"theirs/them.py": ""})
    assert type_("list")[0] == 0


def test_a_yaml_or_a_class_that_is_missing_is_told(install, type_):
    install("theirs", "[ebm_harness.methods]\nx = theirs:Gone\n", {"theirs/__init__.py": ""})
    status, _, error = type_("plan", "method=x")
    assert status == 2 and "its package has no configs/method/x.yaml" in error
    put(Path(sys.path[0]), "theirs/configs/method/x.yaml", "name: x\n")
    status, _, error = type_("plan", "method=x")
    assert status == 2 and "theirs has no class Gone" in error


def test_a_new_method_is_frozen_and_found_by_other_processes(folder, type_, tmp_path):
    put(folder, "method/__init__.py", "raise RuntimeError('imported')")
    for name in ("my_own", "at", "replay", "first", "a-b"):
        status, _, error = type_("new", "method", name, f"out={folder}")
        assert (status == 0) == (name == "my_own"), error
    (run,) = harness.plan(f"--config-dir={folder}", "method=my_own", "data=digits", "model.width=4")
    assert "harness.methods.my_own" in code.of_evaluation(run)["samples"] | code.of_stage(run, run.method.first).parts

    # A process that this one starts finds the class in the folder, and a job in the copy of the code.
    script = "import inspect, harness.core.registry as r; print(inspect.getfile(r.find('method', 'my_own')))"
    copy = snapshot(tmp_path)
    for extra, file in (({}, folder / "method"), (environment(copy), copy / "harness" / "methods")):
        found = subprocess.check_output([sys.executable, "-c", script], env={**os.environ, **extra}, text=True)
        assert found.strip() == str(file / "my_own.py")
