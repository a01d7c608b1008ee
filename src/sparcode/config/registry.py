"""Names and options of encoders, scorers and models, read from the files that hold them.

A file of ``model/encoders``, ``model/interaction`` or ``model/matchers`` holds a network and the class of its
options, whose ``name`` is what the configuration calls it. The configuration must know all options without
importing MindSpore, which takes seconds and may be missing where a bundle is served. So of each file only
the imports of ``typing``, ``pydantic`` and ``sparcode.config`` are run, and the options classes; the rest
waits until a network is built (``sparcode.model.building``).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union

from pydantic import BeforeValidator, Field

from sparcode.config.section import Section
from sparcode.errors import ConfigError

MODEL_ROOM = Path(__file__).parents[1] / "model"
_LIGHT = ("typing", "pydantic", "sparcode.config")

Options = TypeVar("Options", bound=Section)


def read_options(folder: str, base: type[Options]) -> dict[str, type[Options]]:
    """Options classes of the files in a folder of the model room by name, in the order of the file names.

    Args:
        folder: such as ``encoders``.
        base: classes whose list of bases names this one are options.

    Raises:
        ConfigError: two files give the same name.
    """
    found: dict[str, type[Options]] = {}
    for path in sorted((MODEL_ROOM / folder).glob("*.py")):
        for options in _classes(path, f"sparcode.model.{folder}.{path.stem}", base):
            name = options.model_fields["name"].default
            if name in found:
                raise ConfigError(
                    f"two files of model/{folder} are called {name}",
                    where=f"{found[name].__module__} and {options.__module__}",
                    remedy="give one of their options classes another name",
                )
            found[name] = options
    return found


def _classes(path: Path, module: str, base: type[Options]) -> Iterator[type[Options]]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and _extends(node, base.__name__)]
    if not classes:
        return
    tree.body = [node for node in tree.body if _is_light_import(node) or node in classes]
    namespace: dict[str, Any] = {"__name__": module}
    exec(compile(tree, str(path), "exec", dont_inherit=True), namespace)
    for node in classes:
        yield namespace[node.name]


def _extends(node: ast.ClassDef, base: str) -> bool:
    return any(isinstance(parent, ast.Name) and parent.id == base for parent in node.bases)


def _is_light_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_LIGHT)


def one_of(classes: Mapping[str, type[Section]], default: str) -> Any:
    """Type of a section whose key ``name`` says which class it is, ``default`` when it is not given."""

    def named(value: Any) -> Any:
        return {"name": default, **value} if isinstance(value, Mapping) and "name" not in value else value

    union: Any = Union.__getitem__(tuple(classes.values()))
    return Annotated[union, Field(discriminator="name"), BeforeValidator(named)]
