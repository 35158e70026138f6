"""The lower bounds of dependencies exclude versions with known holes, and are no newer than what is tested here."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED = [*PROJECT["dependencies"], *(text for texts in PROJECT["optional-dependencies"].values() for text in texts)]
BOUNDS = {
    canonicalize_name(required.name): Version(next(one.version for one in required.specifier if one.operator == ">="))
    for required in map(Requirement, DECLARED)
    if required.name != PROJECT["name"]
}
LOWEST = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8")
PINS = (line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#")
TESTED = {canonicalize_name(name): Version(version) for name, _, version in (line.partition("==") for line in PINS)}

HOLES = [
    ("torch", "2.6", "CVE-2025-32434", "torch.load with weights_only=True executes code of a file"),
    ("torch", "2.10", "CVE-2026-24747", "torch.load with weights_only=True corrupts memory: code may be executed"),
    ("timm", "1.0.28", "GHSA-pqww-w348-m542", "checkpoints are unpickled"),
    ("hydra-core", "1.3.4", "CVE-2026-68508", "instantiate calls whatever a config names"),
    ("mlflow", "3.11", "CVE-2026-4137", "temporary folders that others may write pickles to"),
    ("scikit-learn", "1.5", "CVE-2024-5206", "TfidfVectorizer keeps words that it was to drop"),
    ("jinja2", "3.1.5", "CVE-2024-56326", "templates leave the sandbox by str.format"),
    ("jinja2", "3.1.6", "CVE-2025-27516", "templates leave the sandbox by |attr"),
    ("filelock", "3.20.1", "CVE-2025-68146", "a link in place of a lock empties another file"),
    ("filelock", "3.20.3", "CVE-2026-22701", "the same with SoftFileLock"),
    ("pyyaml", "5.4", "CVE-2020-14343", "full_load executes code of a file"),
    ("pillow", "12.2", "CVE-2026-40192", "a small FITS file fills the memory"),
    ("pytest", "9.0.3", "CVE-2025-71176", "temporary folders whose names others can guess"),
]
"""A package, the first version without the hole, the hole's name in the advisories, and what it is."""


@pytest.mark.parametrize(("package", "mended", "name", "what"), HOLES, ids=[hole[2] for hole in HOLES])
def test_a_known_hole_is_below_the_lower_bound(package, mended, name, what):
    assert BOUNDS[package] >= Version(mended), f"{name}: {what}"


@pytest.mark.parametrize("package", sorted(BOUNDS))
def test_a_lower_bound_is_no_newer_than_what_is_tested(package):
    assert BOUNDS[package] <= TESTED[package]


def test_torchvision_is_of_torchs_age():
    def minor(version):
        return version.release[1] if version.release[0] else version.release[1] - 15  # 0.15 came with torch 2.0

    assert minor(BOUNDS["torch"]) == minor(BOUNDS["torchvision"])
    assert minor(TESTED["torch"]) == minor(TESTED["torchvision"])


def test_make_lowest_installs_the_lower_bounds():
    """Those of what users install; the tools of development are of any version."""
    texts = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["search"]]
    names = [canonicalize_name(Requirement(text).name) for text in texts]
    pins = [line.partition("==") for line in LOWEST.splitlines() if not line.startswith("#")]
    pinned = {canonicalize_name(name): Version(version) for name, _, version in pins}
    assert pinned.keys() == set(names)
    for name in names:
        # A bound such as 1.5 stands for the first release that begins with it.
        assert pinned[name] >= BOUNDS[name] and str(pinned[name]).startswith(str(BOUNDS[name])), name
