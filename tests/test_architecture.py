"""The rules of the layout, checked on the syntax trees of the sources.

Imports go one way, MindSpore and the command line stay in their rooms, and a few constructs are not used at
all. ``test_the_checker_catches_*`` plants a violation of every rule to show that the checker can fail.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 391  # the design wants 300: going down

_BASE = {"errors", "types", "files", "progress", "padding", "extras", "config"}
_CORE = _BASE | {"data", "index", "crosses", "model", "evaluation.metrics"}
ALLOWED_ROOMS = {
    "": {"api", "config", "errors", "serving"},
    "errors": set(),
    "types": {"errors"},
    "environment": set(),
    "files": {"errors"},
    "progress": set(),
    "extras": {"errors"},
    "padding": {"types"},
    "config": {"errors", "types", "files"},
    "entry": {"errors", "progress"},
    "data": _BASE,
    "index": {"errors", "types", "files"},
    "crosses": _BASE,
    "model": _BASE,
    "evaluation.metrics": _BASE,
    "training": _CORE | {"environment"},
    "serving": _BASE | {"index"},
    "serving.mindir": _BASE | {"environment", "serving"},
    "serving.export": _CORE | {"environment", "serving", "serving.mindir"},
    "evaluation": _CORE | {"training", "serving"},
    "api": _BASE | {"entry", "data", "serving", "serving.export", "evaluation", "pipeline"},
    "pipeline": _CORE | {"environment", "training", "serving", "serving.export", "evaluation"},
}
"""What each room may import from the package, besides itself."""

INNER_ROOMS = ("evaluation.metrics", "serving.mindir", "serving.export")
"""Parts of a room with rules of their own."""

ON_DEMAND = {("serving", "serving.mindir")}
"""Imports that are allowed inside a function only: who does not call it does without."""

WITHOUT_MINDSPORE = {
    "errors",
    "types",
    "files",
    "progress",
    "extras",
    "padding",
    "environment",
    "config",
    "entry",
    "data",
    "index",
    "crosses",
    "serving",
    "evaluation.metrics",
}
INDEX_LIBRARIES = {"numpy", "numba", "pyarrow"}
RUNTIME_NAMES = {
    "set_device",
    "set_context",
    "set_seed",
    "set_auto_parallel_context",
    "communication",
    "init_process_group",
}
FILE_CALLS = {
    "open",
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "memmap",
    "fromfile",
    "savez",
    "load_checkpoint",
    "save_checkpoint",
}
PICKLE_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}


@dataclass(frozen=True)
class Module:
    """A parsed source file; ``name`` is dotted, without the leading ``sparcode``."""

    name: str
    tree: ast.Module
    num_lines: int
    is_package: bool = False

    @property
    def room(self) -> str:
        return room_of(self.name)


def room_of(name: str) -> str:
    inner = [room for room in INNER_ROOMS if f"{name}.".startswith(f"{room}.")]
    return inner[0] if inner else name.partition(".")[0]


def parse(name: str, text: str, *, is_package: bool = False) -> Module:
    return Module(name, ast.parse(text), len(text.splitlines()), is_package)


def read_modules() -> list[Module]:
    modules = []
    for path in sorted((SOURCE / "sparcode").rglob("*.py")):
        parts = list(path.relative_to(SOURCE / "sparcode").with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(parse(name, path.read_text(encoding="utf-8"), is_package=is_package))
    return modules


def imported_modules(module: Module) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything imported, at any depth of the file."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = ["sparcode", *filter(None, module.name.split("."))]
                keep = len(parts) - node.level + module.is_package
                base = ".".join([*parts[:keep], *filter(None, [base])])
            yield node.lineno, base
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def called_name(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def check_imports_go_one_way(module: Module) -> Iterator[str]:
    if module.room not in ALLOWED_ROOMS:
        yield f"{module.name}:1 is in no room of the design"
        return
    for line, name in imported_modules(module):
        if name != "sparcode" and not name.startswith("sparcode."):
            continue
        room = room_of(name.removeprefix("sparcode").removeprefix("."))
        if room and room in ALLOWED_ROOMS and room not in ALLOWED_ROOMS[module.room] | {module.room}:
            if (module.room, room) in ON_DEMAND and _only_on_demand(module, line):
                continue
            # "from sparcode.evaluation import metrics" passes through the package of the room it names.
            if room == "evaluation" and name == "sparcode.evaluation" and _only_metrics(module, line):
                continue
            yield f"{module.name}:{line} {module.room} imports {name}"


def _only_on_demand(module: Module, line: int) -> bool:
    """Whether the import is inside a function, or for the type checker alone."""
    for node in ast.walk(module.tree):
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if (for_types or isinstance(node, ast.FunctionDef)) and node.lineno <= line <= (node.end_lineno or 0):
            return True
    return False


def _only_metrics(module: Module, line: int) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.lineno == line
        and [a.name for a in node.names] == ["metrics"]
        for node in ast.walk(module.tree)
    )


def check_mindspore_stays_out(module: Module) -> Iterator[str]:
    if module.room in WITHOUT_MINDSPORE:
        for line, name in imported_modules(module):
            if name.partition(".")[0] == "mindspore":
                yield f"{module.name}:{line} imports {name}"


def check_index_needs_arrays_only(module: Module) -> Iterator[str]:
    if module.room != "index":
        return
    for line, name in imported_modules(module):
        top = name.partition(".")[0]
        if top not in INDEX_LIBRARIES | {"sparcode"} and top not in sys.stdlib_module_names:
            yield f"{module.name}:{line} imports {name}"


def check_only_runtime_touches_the_device(module: Module) -> Iterator[str]:
    if module.name == "training.runtime":
        return
    for node in ast.walk(module.tree):
        names = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.Name):
            names = [node.id]
        elif isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        for name in names:
            if name in RUNTIME_NAMES:
                yield f"{module.name}:{node.lineno} mentions {name}"


def check_model_reads_no_files(module: Module) -> Iterator[str]:
    if module.room != "model":
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and called_name(node) in FILE_CALLS:
            yield f"{module.name}:{node.lineno} calls {called_name(node)}"
    for line, name in imported_modules(module):
        if name.partition(".")[0] in {"argparse", "pathlib", "io", "yaml", "json"}:
            yield f"{module.name}:{line} imports {name}"


def check_no_command_line(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            if node.attr in {"argv", "exit"}:
                yield f"{module.name}:{node.lineno} touches sys.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "sys":
            if {alias.name for alias in node.names} & {"argv", "exit"}:
                yield f"{module.name}:{node.lineno} imports from sys"
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"exit", "quit"}
        ):
            yield f"{module.name}:{node.lineno} calls {node.func.id}"


def check_no_assert_or_print(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assert):
            yield f"{module.name}:{node.lineno} assert"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{module.name}:{node.lineno} print"


def check_no_bare_except(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{module.name}:{node.lineno} bare except"


def check_no_pickle(module: Module) -> Iterator[str]:
    for line, name in imported_modules(module):
        if name.partition(".")[0] in PICKLE_MODULES:
            yield f"{module.name}:{line} imports {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            refused = isinstance(node.value, ast.Constant) and node.value.value is False
            if not refused:
                yield f"{module.name}:{node.value.lineno} allow_pickle"


def check_small_functions(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{module.name}:{node.lineno} {node.name} has {length} lines"


def check_small_files(module: Module) -> Iterator[str]:
    if module.num_lines > MAX_FILE_LINES:
        yield f"{module.name}:1 has {module.num_lines} lines"


Check = Callable[[Module], Iterator[str]]
CHECKS: list[Check] = [
    check_imports_go_one_way,
    check_mindspore_stays_out,
    check_index_needs_arrays_only,
    check_only_runtime_touches_the_device,
    check_model_reads_no_files,
    check_no_command_line,
    check_no_assert_or_print,
    check_no_bare_except,
    check_no_pickle,
    check_small_functions,
    check_small_files,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_sources_follow_the_rules(check: Check) -> None:
    violations = [violation for module in read_modules() for violation in check(module)]
    assert violations == []


PLANTED: list[tuple[Check, str, str]] = [
    (check_imports_go_one_way, "data.x", "from sparcode.model import layers"),
    (check_imports_go_one_way, "data.x", "def f():\n    import sparcode.training.loop"),
    (check_imports_go_one_way, "data.x", "from ..training import loop"),
    (check_imports_go_one_way, "data.x", "from sparcode import pipeline"),
    (check_imports_go_one_way, "training.x", "from sparcode.evaluation.ann import search"),
    (check_imports_go_one_way, "training.x", "from sparcode.evaluation import ann"),
    (check_imports_go_one_way, "serving.x", "from sparcode.training.loop import fit"),
    (check_imports_go_one_way, "serving.x", "from sparcode.model import layers"),
    (check_imports_go_one_way, "serving.x", "from sparcode.serving.mindir import GraphSession"),
    (check_imports_go_one_way, "serving.x", "def f():\n    from sparcode.serving.export import writer"),
    (check_imports_go_one_way, "serving.mindir", "from sparcode.serving.export import writer"),
    (check_mindspore_stays_out, "serving.x", "def f():\n    import mindspore"),
    (check_mindspore_stays_out, "crosses.x", "import mindspore"),
    (check_imports_go_one_way, "entry", "from sparcode.config.loader import load_config"),
    (check_imports_go_one_way, "errors", "import sparcode.types"),
    (check_imports_go_one_way, "helpers.x", "x = 1"),
    (check_mindspore_stays_out, "index.x", "import mindspore as ms"),
    (check_mindspore_stays_out, "evaluation.metrics", "def f():\n    from mindspore import ops"),
    (check_index_needs_arrays_only, "index.x", "import pandas as pd"),
    (check_index_needs_arrays_only, "index.x", "from scipy import sparse"),
    (check_only_runtime_touches_the_device, "model.x", "import mindspore as ms\nms.set_device('CPU')"),
    (check_only_runtime_touches_the_device, "training.loop", "from mindspore.communication import init"),
    (check_model_reads_no_files, "model.x", "open('f')"),
    (check_model_reads_no_files, "model.x", "import mindspore as ms\nms.load_checkpoint('f')"),
    (check_model_reads_no_files, "model.x", "from pathlib import Path"),
    (check_no_command_line, "training.x", "import sys\nsys.exit(1)"),
    (check_no_command_line, "config.arguments", "from sys import argv"),
    (check_no_command_line, "data.x", "exit(2)"),
    (check_no_assert_or_print, "data.x", "assert 1"),
    (check_no_assert_or_print, "data.x", "print(1)"),
    (check_no_bare_except, "data.x", "try:\n    pass\nexcept:\n    pass"),
    (check_no_pickle, "data.x", "import pickle"),
    (check_no_pickle, "data.x", "np.load('f', allow_pickle=True)"),
    (check_small_functions, "data.x", "def f():\n" + "    x = 1\n" * 60),
    (check_small_files, "data.x", "x = 1\n" * (MAX_FILE_LINES + 1)),
]


@pytest.mark.parametrize(("check", "name", "text"), PLANTED)
def test_the_checker_catches_a_planted_violation(check: Check, name: str, text: str) -> None:
    assert list(check(parse(name, text)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "training.x",
            "from sparcode.evaluation import metrics\nfrom sparcode.evaluation.metrics import recall",
        ),
        ("serving.x", "def f():\n    from sparcode.serving.mindir import GraphSession"),
        ("serving.mindir", "import mindspore\nfrom sparcode.serving.manifest import GraphSpec"),
        ("serving.export.x", "import mindspore\nfrom sparcode.model.sparcode import SparCode"),
        ("training.runtime", "import mindspore as ms\nms.set_device('CPU')\nms.set_seed(1)"),
        (
            "index.x",
            "import numpy as np\nimport numba\nimport json\nfrom sparcode.errors import IndexFormatError",
        ),
        ("index.x", "np.load('f', allow_pickle=False)"),
        ("pipeline.runs", "from sparcode.evaluation import ann\nimport sparcode.training.loop"),
        ("data.x", "def f():\n" + "    x = 1\n" * 59),
    ],
)
def test_the_checker_lets_allowed_code_pass(name: str, text: str) -> None:
    assert [violation for check in CHECKS for violation in check(parse(name, text))] == []


def test_the_checker_catches_a_violation_through_a_relative_import_in_a_package() -> None:
    package = parse("data", "from . import splits\nfrom ..model import layers", is_package=True)
    assert [v.partition(" ")[0] for v in check_imports_go_one_way(package)] == ["data:2", "data:2"]


def test_every_room_of_the_design_is_read() -> None:
    rooms = {module.room for module in read_modules()}
    assert {"errors", "types", "config", "entry", "data", "index", "model"} <= rooms


@pytest.mark.parametrize(
    "script", ["preprocess", "train", "eval", "export", "infer", "update", "compare", "tune"]
)
def test_entry_scripts_are_thin_and_load_nothing_heavy_at_import(script: str) -> None:
    text = (ROOT / f"{script}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 100
    top_level = {
        name.partition(".")[0]
        for node in ast.parse(text).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for _, name in imported_modules(Module(script, ast.Module([node], []), 1))
    }
    assert not top_level & {"mindspore", "numpy", "pandas", "numba"}


IMPORT_WITH_BLOCK = """
import importlib, sys

BLOCKED = set(sys.argv[2].split(","))

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
importlib.import_module(sys.argv[1])
"""


def import_with_block(module: str, *blocked: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IMPORT_WITH_BLOCK, module, ",".join(blocked)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "blocked"),
    [
        ("sparcode.index", ("mindspore", "pandas", "pydantic", "ruamel", "scipy", "tqdm")),
        ("sparcode.evaluation.metrics", ("mindspore",)),
        ("sparcode.config.command_lines", ("mindspore", "numpy", "pandas")),
        ("sparcode.data.dataset", ("mindspore",)),
        ("sparcode.crosses", ("mindspore",)),
        ("sparcode.serving", ("mindspore",)),
        ("sparcode", ("mindspore", "numba", "numpy", "pandas", "pydantic", "ruamel")),
        ("sparcode.entry", ("mindspore", "numpy", "pandas", "pydantic", "ruamel")),
    ],
)
def test_rooms_import_without_what_they_do_not_need(module: str, blocked: tuple[str, ...]) -> None:
    done = import_with_block(module, *blocked)
    assert done.returncode == 0, done.stderr


def test_the_import_block_works() -> None:
    done = import_with_block("sparcode.config.command_lines", "pydantic")
    assert done.returncode != 0
    assert "pydantic is blocked" in done.stderr
