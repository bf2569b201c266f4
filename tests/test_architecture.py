"""Which way imports go: read from the source of every module, also inside functions and for types."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROOMS = {
    "keras_graph": (("nodes",), ("walk",)),
    "models": (
        ("errors", "knobs", "shared_knobs", "family", "blocks", "graph", "array_names"),
        tuple(family.parent.name for family in (ROOT / "models").glob("*/family.py")),
        ("macs",),
        ("registry", "cost", "file_size"),
        ("build", "weights"),
    ),
    "export": (
        (
            "errors",
            "files",
            "limits",
            "reading",
            "labels_file",
            "model_format",
            "records",
            "signals",
            "native_output",
            "partial",
            "rewrites",
            "precisions",
            "pixel_conventions",
            "trained_names",
        ),
        ("settings", "head"),
        ("artifact", "verification", "npz"),
        ("graph",),
        ("source",),
        ("tflite",),
        ("check",),
        ("quantization",),
        ("sparse",),
        ("plan",),
        ("convert",),
        ("choose_int8",),
        ("exporter",),
    ),
    "android_bench": (
        ("errors", "reasons", "settings"),
        ("delegates", "adb_words"),
        ("phone", "printed"),
        ("tool",),
        ("matrix",),
    ),
    "pipeline": (
        ("errors", "home", "json_values", "progress", "sessions", "stop_signals", "terminal"),
        ("console", "quiet", "shell"),
        ("class_names", "labels", "records"),
        ("run_cache",),
        ("run_lock", "runs"),
        ("lineage",),
        ("data", "store"),
        ("training", "bench"),
        ("compression", "explain", "android_kit", "report"),
        ("steps", "doctor"),
        ("trials",),
        ("choose",),
        ("commands",),
        ("cli",),
    ),
}
"""For each package its rooms, files or folders, from the lowest: a room imports lower ones alone."""

MAY_IMPORT = {
    "keras_graph": {"keras_graph"},
    "models": {"keras_graph", "models"},
    "export": {"export", "keras_graph"},
    "android_bench": {"android_bench"},
    "pipeline": {"android_bench", "export", "keras_graph", "models", "pipeline"},
}
RECORDS_MAY_IMPORT = {
    "pipeline.errors",
    "pipeline.records",
    "export.records",
    "export.settings",
    "export.verification",
}


@cache
def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    paths = [path for package in ROOMS for path in (ROOT / package).rglob("*.py")]
    return {dotted(path): path for path in paths if path.name != "__init__.py"}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@cache
def imports(module: str) -> frozenset[str]:
    """The modules that one imports anywhere: ours as modules, others by their first word."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        for name in imported(node):
            package, _, rest = name.partition(".")
            while package in ROOMS and rest and f"{package}.{rest}" not in modules():
                rest = rest.rpartition(".")[0]
            found.add(f"{package}.{rest}" if package in ROOMS and rest else package)
    return frozenset(found)


def imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def level(module: str) -> int:
    package, room = module.split(".")[:2]
    places = [place for place, rooms in enumerate(ROOMS[package]) if room in rooms]
    assert len(places) == 1, f"{package}/{room} has no place, or two, in ROOMS: say what may import it"
    return places[0]


def arrows() -> Iterator[tuple[str, str]]:
    for module in modules():
        yield from ((module, other) for other in imports(module) if other in modules())


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("package", ROOMS)
def test_package_imports_no_package_that_it_must_not_know(package: str):
    ours = {(module, other) for module, other in arrows() if module.startswith(f"{package}.")}
    strangers = {each for each in ours if each[1].split(".")[0] not in MAY_IMPORT[package]}
    assert not strangers


@pytest.mark.parametrize("package", ROOMS)
def test_room_imports_lower_rooms_of_its_package_alone(package: str):
    inside = [each for each in arrows() if {name.split(".")[0] for name in each} == {package}]
    assert inside
    upward = [each for each in inside if room(each[0]) != room(each[1]) and level(each[0]) < level(each[1])]
    assert not upward


def test_no_room_of_one_level_imports_back_and_forth():
    between = {(room(module), room(other)) for module, other in arrows() if room(module) != room(other)}
    assert not {tuple(sorted(each)) for each in between if each[::-1] in between}


def test_no_circle_of_modules_anywhere():
    graph = {module: [name for name in imports(module) if name in modules()] for module in modules()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")
    assert set(order) == set(modules())


def test_records_import_the_standard_library_and_leaves_alone():
    for module in modules():
        if module.startswith("pipeline.records."):
            others = {name for name in imports(module) if name not in sys.stdlib_module_names}
            above = {name for name in others if not RECORDS_MAY_IMPORT & {name, room(name)}}
            assert not above, f"{module} imports {above}"


def test_sparse_weights_are_reached_by_two_functions_alone():
    entries = {"export.sparse.weights.with_sparse_weights", "export.sparse.verdict.sparse_verdict"}
    reached = {
        name
        for module, path in modules().items()
        if room(module) != "export.sparse"
        for node in ast.walk(ast.parse(path.read_text()))
        for name in imported(node)
        if name.startswith("export.sparse")
    }
    assert reached == entries


def test_nothing_below_the_commands_parses_or_prints():
    for module in modules():
        if module.startswith(("pipeline.commands.", "pipeline.cli")):
            continue
        source = ast.parse(modules()[module].read_text())
        calls = [node.func for node in ast.walk(source) if isinstance(node, ast.Call)]
        called = {function.id for function in calls if isinstance(function, ast.Name)}
        is_program = "__main__" in modules()[module].read_text()  # run as a child, which answers on stdout
        assert "click" not in imports(module), f"{module} imports click"
        assert is_program or "print" not in called, f"{module} prints"


def test_steps_take_the_runs_folder_and_ask_for_none():
    steps = [module for module in modules() if module.startswith("pipeline.steps.")]
    assert steps
    for module in steps:
        names = {
            alias.name
            for node in ast.walk(ast.parse(modules()[module].read_text()))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert "runs_folder" not in names, f"{module} asks for the folder that the command line uses"
        assert not {"rich", "click"} & set(imports(module)), f"{module} draws"


def test_every_python_process_that_is_started_leaves_the_current_folder_out_of_its_imports():
    """A numpy.py of others in the current folder must not run."""
    folders = [*(ROOT / package for package in ROOMS), ROOT / "benchmarks"]
    trees = {path: ast.parse(path.read_text()) for folder in folders for path in folder.rglob("*.py")}
    commands = {
        (path.name, words.lineno): words
        for path, tree in trees.items()
        for words in ast.walk(tree)
        if isinstance(words, ast.List) and words.elts and ast.unparse(words.elts[0]) == "sys.executable"
    }
    assert len(commands) >= 4
    assert not [
        place for place, words in commands.items() if ast.unparse(words.elts[1]) not in ("'-P'", "'-I'")
    ]
