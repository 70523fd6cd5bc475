"""Each room imports only rooms below it; heavy or rare packages stay where they belong."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dp3_lightning"
BOTTOM = {"checks", "numerics", "structures", "regions", "randomness", "runtime", "assets"}
ALLOWED = {
    "checks": set(),
    "numerics": set(),
    "structures": set(),
    "regions": set(),
    "randomness": set(),
    "runtime": set(),
    "assets": {"runtime"},
    "optical_flow": {"structures", "numerics"},
    "losses": {"structures", "numerics", "regions", "optical_flow"},
    "video": {"structures", "runtime"},
    "faces": {"checks", "runtime", "structures", "assets", "video"},
    # The face prior knows the geometry of meshes, see test_generators_know_geometry_only.
    "generators": {
        "checks",
        "numerics",
        "structures",
        "assets",
        "runtime",
        "randomness",
        "faces",
    },
    "discriminators": {
        "checks",
        "generators",
        "numerics",
        "structures",
    },  # they share layers
    "data": BOTTOM | {"faces", "video", "optical_flow"},
    "anonymize": BOTTOM | {"faces", "generators", "optical_flow", "reports", "video"},
    # Metrics know the geometry and colours of meshes.
    "metrics": BOTTOM | {"faces", "losses", "optical_flow"},
    "evaluation": BOTTOM
    | {"data", "anonymize", "faces", "losses", "metrics", "optical_flow", "reports", "video"},
    "studies": BOTTOM
    | {
        "anonymize",
        "data",
        "evaluation",
        "faces",
        "generators",
        "metrics",
        "modules",
        "reports",
        "video",
    },
    "reports": BOTTOM | {"video"},
    # The identity term knows the recogniser that is rebuilt in torch.
    "callbacks": BOTTOM | {"faces", "losses", "optical_flow", "video"},
    "modules": BOTTOM | {"anonymize", "callbacks", "generators", "discriminators", "losses"},
}
TOP = {"cli", "__main__", "__init__"}  # may import everything
NEVER_LIGHTNING = {
    "losses",
    "optical_flow",
    "generators",
    "discriminators",
    "video",
    "faces",
} | BOTTOM
LAZY_ONLY = {
    "lpips",
    "torchvision",
    "dp2",
    "tops",
    "dlib",
    "face_detection",
    "openvino",
    "deepface",
}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_import_downward(path: Path) -> None:
    room = room_of(path)
    if room in TOP:
        return
    assert room in ALLOWED, f"say in this test what {room} may import"
    ours = {n.split(".")[1] for n in imports(path) if n.startswith("dp3_lightning.")}
    assert ours - ALLOWED[room] - {room, "__version__"} == set()
    if room in NEVER_LIGHTNING:
        assert not {
            n for n in imports(path) if n.split(".")[0] in ("pytorch_lightning", "lightning")
        }


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_generators_know_geometry_only(path: Path) -> None:
    if room_of(path) != "generators":
        return
    of_faces = {n for n in imports(path) if n.startswith("dp3_lightning.faces")}
    modules = {".".join(name.split(".")[:3]) for name in of_faces}
    assert modules <= {"dp3_lightning.faces.alignment", "dp3_lightning.faces.expression"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_training_does_not_know_anonymizing(path: Path) -> None:
    """Two files of ``modules`` hand on the module for ``predict``, whose old names users know."""
    if room_of(path) != "modules" or path.name in ("__init__.py", "anonymizer.py"):
        return
    assert not {n for n in imports(path) if n.startswith("dp3_lightning.anonymize")}


def test_only_the_predict_module_of_anonymize_knows_lightning() -> None:
    files = [path for path in FILES if room_of(path) == "anonymize"]
    heavy = {path.name for path in files if "pytorch_lightning" in imports(path)}
    assert heavy == {"lightning.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rare_packages_are_imported_inside_functions(path: Path) -> None:
    assert not {n.split(".")[0] for n in imports(path, top_level_only=True)} & LAZY_ONLY
