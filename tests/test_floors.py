"""Each floor imports only from the floors below it: the table of docs/architecture.md, kept true."""

import ast
import itertools
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parent.parent
# From the ground up; packages of one floor may use each other unless they are apart.
FLOORS = [
    {"arguments", "errors", "files", "moved", "norms", "prng", "seeds", "trees", "roles"},
    {"losses", "metrics", "data", "nn"},
    {"models", "hypernet", "pareto", "pruning", "local_sgd", "uncertainty"},
    {"interop"},
    {"train"},
    {"registration", "inference", "in_context"},
    {"tasks"},
    {"report"},
    {"results"},
    {"studies"},
    {"configured"},
    {"launch", "exports", "networks"},
    {"sweep", "planning"},
    {"cli"},
]
APART = {("data", "metrics"), ("metrics", "data"), ("nn", "data")}
for floor_of_strangers in (2, 5):
    APART |= set(itertools.permutations(FLOORS[floor_of_strangers], 2))
APART -= {("in_context", "inference")}  # tiles of large images
# What of a study reads its run folder alone: it may not reach what trains.
READERS = ("results", "page", "figures")
WORKERS = ("study", "units", "programs", "training")


def floor(package):
    return next(index for index, packages in enumerate(FLOORS) if package in packages)


def modules(path):
    """The full names of what a file imports: modules, or names in them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imports(path):
    yield from (module.split(".")[1] for module in modules(path) if module.startswith("hyperlab."))


@pytest.mark.parametrize("path", sorted((ROOT / "hyperlab").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    package = path.relative_to(ROOT / "hyperlab").parts[0].removesuffix(".py")
    if package in ("__init__", "__main__"):
        return
    for used in imports(path):
        if used in ("__version__", package):
            continue
        assert floor(used) <= floor(package), f"{path.name} of {package} imports {used}, which is above it"
        assert (package, used) not in APART, f"{package} does not know {used}"


def test_every_room_has_a_floor():
    packages = {p.name.removesuffix(".py") for p in (ROOT / "hyperlab").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert {package for package in packages if not package.startswith("__")} == set().union(*FLOORS)


def studies():
    return sorted(path.parent for path in (ROOT / "hyperlab" / "studies").glob("*/__init__.py"))


@pytest.mark.parametrize("folder", studies(), ids=lambda p: p.name)
def test_a_study_knows_no_other(folder):
    others = {path.name for path in studies()} - {folder.name}
    for path in folder.rglob("*.py"):
        for module in modules(path):
            parts = module.split(".")
            assert parts[:2] != ["hyperlab", "studies"] or parts[2] not in others, f"{path.name} imports {module}"


@pytest.mark.parametrize("folder", studies(), ids=lambda p: p.name)
def test_what_shows_a_study_cannot_train_it(folder):
    for path in folder.glob("*.py"):
        if path.stem not in READERS:
            continue
        for module in modules(path):
            worker = module.startswith(f"hyperlab.studies.{folder.name}.") and module.split(".")[3] in WORKERS
            assert not worker, f"{path.name} imports {module}"
