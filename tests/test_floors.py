"""Each floor imports only from the floors below it: the table of docs/architecture.md, kept true."""

import ast
import itertools
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parent.parent
# From the ground up; modules of one floor may use each other where the second table allows it.
FLOORS = [
    {"errors", "files", "seeds", "trees", "roles"},
    {"losses", "metrics", "data", "nn"},
    {"models", "hypernet", "pareto", "inference", "pruning", "local_sgd", "uncertainty"},
    {"interop"},
    {"train"},
    {"results"},
    {"in_context"},
    {"stability", "rescaling", "registration", "few_shot", "compression", "replicas", "reliability"},
    {"report"},
    {"studies", "launch", "exports"},
    {"sweep"},
    {"cli"},
]
# report/page.py writes files atomically as train does; sweep's report is called by sweep itself.
APART = {("data", "metrics"), ("metrics", "data"), ("nn", "data")}
APART |= set(
    itertools.permutations(("models", "hypernet", "pareto", "inference", "pruning", "local_sgd", "uncertainty"), 2)
)
APART |= set(
    itertools.permutations(
        ("stability", "rescaling", "registration", "few_shot", "compression", "replicas", "reliability"), 2
    )
)
# Rescaling and registration are tasks of the stability study too; they do not know it.
APART -= {("stability", "rescaling"), ("stability", "registration")}
# In-context segmentation is a task of the pruning study.
APART -= {("compression", "few_shot")}
# The local SGD study trains on the tasks of the pruning study.
APART -= {("replicas", "compression")}


def floor(room):
    return next(index for index, rooms in enumerate(FLOORS) if room in rooms)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module] if node.module != "hyperlab" else [f"hyperlab.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("hyperlab."))


@pytest.mark.parametrize("path", sorted((ROOT / "hyperlab").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    room = path.relative_to(ROOT / "hyperlab").parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    for used in imports(path):
        if used in ("__version__", room):
            continue
        assert floor(used) <= floor(room), f"{path.name} of {room} imports {used}, which is above it"
        assert (room, used) not in APART, f"{room} does not know {used}"


def test_every_room_has_a_floor():
    rooms = {p.name.removesuffix(".py") for p in (ROOT / "hyperlab").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert {room for room in rooms if not room.startswith("__")} == set().union(*FLOORS)
