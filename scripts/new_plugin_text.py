"""What a scaffolded plug-in's files say. The runtime half is written out from the family's own protocol."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TYPING: Final = "from typing import Any, Final"


def render_package(name: str) -> str:
    """Return the docstring of the package."""
    return f'"""The plug-in ``{name}``."""\n'


def render_config(name: str, base: str) -> str:
    """Return the config half: options, no torch, no I/O."""
    return f'''"""Options of ``{name}``."""

from __future__ import annotations

from typing import ClassVar

from luthier.foundation.schema.plugins import {base}


{_config_class(base)}'''


def render_runtime(name: str, protocol: type | None) -> str:
    """Return the runtime half, with one stub for each method of the family's protocol."""
    imports, body = _stub(name, protocol)
    return f'"""What ``{name}`` does."""\n\nfrom __future__ import annotations\n\n{imports}\n\n\n{body}'


def render_single(name: str, base: str, protocol: type | None) -> str:
    """Return both halves in one file, as metrics and graders have them."""
    imports, body = _stub(name, protocol)
    return (
        f'"""``{name}``: options and what it does."""\n\nfrom __future__ import annotations\n\n'
        f"from typing import ClassVar\n\nfrom luthier.foundation.schema.plugins import {base}\n{imports}\n\n\n"
        f"{_config_class(base)}\n\n{body}"
    )


def render_test(family: str, name: str) -> str:
    """Return the test: conformance, and a law that only its author can write."""
    return f'''"""``{name}`` against what is known from elsewhere: another implementation, or values derived by hand."""

from __future__ import annotations

import pytest

from luthier.testing.conformance import check_plugin


def test_{name}_keeps_the_promises_of_{family}() -> None:
    check_plugin("{family}", "{name}")


def test_{name}_gives_what_is_known_from_elsewhere() -> None:
    pytest.fail("To be written: compare {name} with another implementation, or with a value derived by hand")
'''


def render_page(family: str, name: str) -> str:
    """Return the page: what, when, options, source, example."""
    return f"""# {name}

To be written: what it does, in one sentence.

**When.** To be written: when it is the right choice, and when not.

| option | default | meaning |
|---|---|---|

To be written: a piece of a recipe that asks for `{name}`, as the other pages of {family} have it.

**Source.** To be written: the paper or standard, or "Ours".
"""


def _config_class(base: str) -> str:
    return f'''class Config({base}):
    """To be written: what it does, in one sentence.

    Attributes:
        VERSION: Raised whenever the same options would give another result.
        SOURCE: The paper or standard that its registry row names, or ``ours``.
    """

    VERSION: ClassVar[int] = 1
    SOURCE: ClassVar[str] = "ours"
'''


def _stub(name: str, protocol: type | None) -> tuple[str, str]:
    """Return the imports that a protocol's signatures need, and a class that has its methods."""
    class_name = "".join(word.capitalize() for word in name.split("_"))
    head = f'class {class_name}:\n    """See ``Config``."""\n'
    tail = f"\n\nPLUGIN: Final = {class_name}()\n"
    if protocol is None:
        note = "    # To be written: the methods that the family's other members have; it has no protocol yet\n"
        return TYPING, f"{head}\n{note}{tail}"
    source = inspect.getsourcefile(protocol)
    module = ast.parse(Path(source or "").read_text(encoding="utf-8"))
    node = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == protocol.__name__)
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    methods = [item for item in node.body if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")]
    parts = [f"    {ast.unparse(field)}  # To be written: its value" for field in fields]
    parts += [_write_method(method) for method in methods]
    imports = "\n".join([TYPING, *_find_imports(module, protocol.__module__, [*fields, *methods])])
    return imports, head + "\n" + "\n\n".join(parts) + "\n" + tail


def _write_method(method: ast.FunctionDef) -> str:
    first = (ast.get_docstring(method) or "To be written.").partition("\n")[0]
    decorators = "".join(f"    @{ast.unparse(decorator)}\n" for decorator in method.decorator_list)
    returns = f" -> {ast.unparse(method.returns)}" if method.returns else ""
    return (
        f"{decorators}    def {method.name}({ast.unparse(method.args)}){returns}:  # noqa: ANN401  family's protocol\n"
        f'        """{first}"""\n        raise NotImplementedError'
    )


def _find_imports(module: ast.Module, place: str, nodes: list[ast.AnnAssign | ast.FunctionDef]) -> Iterator[str]:
    """Yield an import for each name in the signatures: from where the protocol's module has it, or from that module."""
    annotations: list[ast.AST] = [node.annotation for node in nodes if isinstance(node, ast.AnnAssign)]
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            annotations += [node.args, *([node.returns] if node.returns else [])]
    names = {item.id for part in annotations for item in ast.walk(part) if isinstance(item, ast.Name)}
    wanted = names - {"Any", "Final"}
    for statement in ast.walk(module):
        for alias in statement.names if isinstance(statement, ast.Import | ast.ImportFrom) else ():
            if (alias.asname or alias.name) in wanted:
                wanted.remove(alias.asname or alias.name)
                origin = f"from {statement.module} " if isinstance(statement, ast.ImportFrom) else ""
                yield f"{origin}import {ast.unparse(alias)}"
    own = sorted(wanted & _list_defined(module))
    if own:
        yield f"from {place} import {', '.join(own)}"


def _list_defined(module: ast.Module) -> set[str]:
    assigned = [node.targets for node in module.body if isinstance(node, ast.Assign)]
    names = {target.id for targets in assigned for target in targets if isinstance(target, ast.Name)}
    return names | {node.name for node in module.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
