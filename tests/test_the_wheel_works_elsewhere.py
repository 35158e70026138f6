"""The wheel holds all that a run needs: installed as an image of a container does it, it works in any folder."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from commandline import bare
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RECIPES = [ROOT / "containers" / name for name in ("Dockerfile", "ebm-harness.def")]
PLACES = PROJECT["tool"]["setuptools"]["package-dir"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    # Copy the files of the packages, without what git ignores, such as reports and paths of one's own.
    tops = {place.partition("/")[0] for place in PLACES.values()}
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *tops, "*.toml", "*.md", "LICENSE"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    own = folder / "source" / "configs" / "local" / "launcher" / "mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("account: lab\n")
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, folder / "source")
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A new environment with the wheel, which sees the dependencies, but not the checkout, of this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    # Install as the recipes of images do.
    (wheel.parent / "constraints.txt").write_bytes((ROOT / "constraints.txt").read_bytes())
    (line,) = {line for recipe in RECIPES for line in installing(recipe)}
    words = [str(wheel.parent / word[9:]) if word.startswith("/install/") else word for word in line.split()[1:]]
    pip(*words[:-1], *wheel.parent.glob(Path(words[-1]).name), python=folder / "bin" / "python")
    return folder


def installing(recipe):
    """The lines of an image's recipe that install something."""
    lines = [line.strip().removeprefix("RUN ") for line in recipe.read_text().splitlines()]
    return [line for line in lines if line.startswith("pip install")]


def pip(verb, *words, python=sys.executable):
    """Run pip, which takes nothing from a network."""
    offline = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "--python", python, verb, *offline, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_copies_what_it_installs(recipe):
    text = recipe.read_text()
    assert len(installing(recipe)) == 1
    assert (
        re.search(r"^(COPY|    )\s*dist/\*\.whl", text, re.MULTILINE)
        and "pip wheel --no-deps --wheel-dir dist ." in text
    )
    (python,) = re.findall(r"python:(\d+\.\d+)-slim", text)
    assert python in SpecifierSet(PROJECT["project"]["requires-python"])


def test_it_holds_every_module_and_every_file_beside_them(wheel):
    source, packed = wheel.parent / "source", set(zipfile.ZipFile(wheel).namelist())
    for package, place in PLACES.items():
        for path in (source / place).rglob("*"):
            if path.is_file() and not {"__pycache__", "local"} & set(path.parts):
                assert f"{package.replace('.', '/')}/{path.relative_to(source / place).as_posix()}" in packed
    kept = [name for name in packed if ".dist-info/" not in name]
    assert all(name.startswith("harness/") for name in kept) and not any("/local/" in name for name in kept)


def test_a_run_and_its_report_work_in_another_folder(environment, tmp_path):
    def type_(*words):
        program = environment / "bin" / words[0]
        done = subprocess.run([program, *words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    place = type_("python", "-c", "import harness; print(harness.__file__)")
    assert Path(place.strip()).is_relative_to(environment)
    assert re.match(rf"harness {re.escape(PROJECT['project']['version'])}\b", type_("harness", "--version"))
    type_("harness", *bare("standard", 4))
    type_("harness", "report")
    assert len([*tmp_path.glob("runs/*/record.json")]) == 1 and (tmp_path / "reports" / "LEADERBOARD.md").is_file()
