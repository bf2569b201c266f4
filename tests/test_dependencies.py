"""What pyproject.toml declares is what the code imports, read from the source of every module."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
INSTALLED = PROJECT["tool"]["setuptools"]
PACKAGES = [name.removesuffix("*") for name in INSTALLED["packages"]["find"]["include"]]
MODULES = INSTALLED["py-modules"]
IN_TESTS = {
    path.stem for folder in ("tests", "benchmarks", "benchmarks/hold") for path in (ROOT / folder).iterdir()
}

DISTRIBUTIONS = {
    "PIL": "pillow",
    "pi_heif": "pi-heif",
    "google": "protobuf",
    "sklearn": "scikit-learn",
    "tensorflow_model_optimization": "tensorflow-model-optimization",
    "tf_keras": "tf-keras",
    "huggingface_hub": "huggingface-hub",
    "vl_convert": "vl-convert-python",
    "ai_edge_litert": "ai-edge-litert",
    "tflite_runtime": "tflite-runtime",
}
"""The distribution of a package that is called otherwise."""

OF_PEERS = {"torch"}
"""What programs import that run in an environment of the tests' own."""
NOT_IMPORTED = {
    "mypy": "a command",
    "ruff": "a command",
    "pytest-xdist": "a plugin of pytest",
    "pytest-timeout": "a plugin of pytest",
}


def imported(*folders: str) -> dict[str, str]:
    """Each distribution that modules under the folders import, and one such module."""
    found: dict[str, str] = {}
    known = {*sys.stdlib_module_names, "_typeshed", *PACKAGES, *MODULES, *IN_TESTS}
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        for name in names(ast.parse(path.read_text())):
            if name not in known:
                found.setdefault(DISTRIBUTIONS.get(name, name), str(path.relative_to(ROOT)))
    return found


def names(source: ast.Module) -> Iterator[str]:
    """The first words of what is imported, also inside functions and for types."""
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def declared(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def runtime() -> set[str]:
    return declared(PROJECT["project"]["dependencies"])


def extras() -> set[str]:
    """Packages that users install for what they need; the code does without them."""
    every = PROJECT["project"]["optional-dependencies"]
    return {name for extra, needed in every.items() if extra != "dev" for name in declared(needed)}


def dev() -> set[str]:
    return declared(PROJECT["project"]["optional-dependencies"]["dev"])


def test_everything_that_the_packages_import_is_declared():
    known = runtime() | extras()
    missing = {name: module for name, module in imported(*PACKAGES).items() if name not in known}
    assert not missing


def test_everything_that_tests_and_benchmarks_import_is_declared():
    known = runtime() | dev() | OF_PEERS
    missing = {name: module for name, module in imported("tests", "benchmarks").items() if name not in known}
    assert not missing


def test_everything_declared_is_imported_or_has_a_reason():
    packages, tests = imported(*PACKAGES), imported("tests", "benchmarks")
    assert runtime() - set(packages) - set(NOT_IMPORTED) == set()
    assert dev() - set(tests) - set(NOT_IMPORTED) - extras() == set()
    assert extras() - set(packages) == set()
    assert extras() <= dev()
    assert set(NOT_IMPORTED) <= runtime() | dev()


def test_every_declared_package_is_pinned_by_the_lock():
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert runtime() | dev() <= pinned


def test_every_package_and_module_of_the_project_is_installed():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(PACKAGES)
    assert {path.stem for path in ROOT.glob("*.py")} == set(MODULES)


def test_spelling_which_every_package_may_import_imports_the_standard_library_alone():
    assert set(names(ast.parse((ROOT / "spelling.py").read_text()))) <= sys.stdlib_module_names
