"""The doctor uses the public methods of providers only."""

import ast
import re
from pathlib import Path

import tokenkeeper.doctor

SOURCES = sorted(Path(tokenkeeper.doctor.__file__).parent.glob("*.py"))


def foreign_privates(tree):
    """Yield the private attributes in *tree* that belong to another object than ``self``."""
    for node in ast.walk(tree):
        is_private = isinstance(node, ast.Attribute) and re.match("_(?!_)", node.attr)
        if is_private and ast.unparse(node.value) not in ("self", "cls"):
            yield ast.unparse(node)


def assigned_attributes(tree):
    """Yield the attributes in *tree* that are assigned to on another object than ``self``."""
    for node in ast.walk(tree):
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Attribute) and ast.unparse(target.value) != "self":
                yield ast.unparse(target)


def test_no_private_attribute_is_used():
    """No module of the doctor reads a private attribute of another object."""
    found = {
        path.name: list(foreign_privates(ast.parse(path.read_text(encoding="utf-8"))))
        for path in SOURCES
    }
    assert not {name: names for name, names in found.items() if names}


def test_no_method_is_replaced():
    """The doctor assigns to the state of an examination and to TLS contexts, to nothing else."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]
    owners = {name.rpartition(".")[0] for tree in trees for name in assigned_attributes(tree)}
    assert owners <= {"examination", "context"}
