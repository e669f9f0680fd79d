"""The tree keeps its shape: platform/ stays a source root, imports point one way, nothing local is written down."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SKIPPED = {".git", ".venv", "__pycache__"}
TOP_LEVEL = {
    *("platform", "deployments", "jobs", "configs", "tests", "infra", ".ci"),
    *("pyproject.toml", "requirements.lock", "Makefile", "README.md", "LICENSE"),
    *("CHANGELOG.md", "CONTRIBUTING.md"),
    *(".gitignore", ".rayignore", ".pre-commit-config.yaml"),
}
# Names that say nothing: what lands there has no idea of its own.
VAGUE = {"utils", "util", "common", "helpers", "helper", "core", "misc", "scripts"}
MAY_NOT_IMPORT = {
    "platform/aisle": {"ray", "fastapi", "starlette", "uvicorn", "deployments", "jobs", "tests"},
    "deployments": {"jobs", "tests"},
    "jobs": {"deployments", "tests"},
}


def tracked() -> list[Path]:
    """What git would commit, relative to the root; every file of the known folders where git is not there."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\0")
        paths = [Path(name) for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        tops = [ROOT / name for name in sorted(TOP_LEVEL)]
        found = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*"))]
        paths = [path.relative_to(ROOT) for path in found]
    return [path for path in paths if not SKIPPED & set(path.parts) and (ROOT / path).is_file()]


def python_files(folder: str = ".") -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and path.is_relative_to(folder)]


def imported(path: Path) -> set[str]:
    """First names of every import in the file, those inside functions too."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_platform_is_a_source_root_with_one_child():
    children = {path.name for path in (ROOT / "platform").iterdir()} - SKIPPED
    assert children == {"aisle"}


def test_the_standard_librarys_platform_wins_from_the_root():
    code = "import platform; print(platform.python_version())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [sys.version.split()[0]]


@pytest.mark.parametrize("folder", MAY_NOT_IMPORT)
def test_imports_point_one_way(folder):
    wrong = {str(path): imported(path) & MAY_NOT_IMPORT[folder] for path in python_files(folder)}
    assert not {path: names for path, names in wrong.items() if names}


def test_the_top_level_holds_only_what_belongs_there():
    assert {path.parts[0] for path in tracked()} - TOP_LEVEL == set()


def test_no_python_file_is_longer_than_400_lines():
    lengths = {str(path): len((ROOT / path).read_bytes().splitlines()) for path in python_files()}
    assert not {path: lines for path, lines in lengths.items() if lines > 400}


def test_no_module_or_folder_has_a_vague_name():
    assert not [str(path) for path in python_files() if {path.stem, *path.parts} & VAGUE]


def test_test_folders_do_not_take_the_names_of_source_folders():
    assert not {"platform", "jobs", "deployments"} & {p.parts[1] for p in python_files("tests")}


def test_every_package_folder_says_that_it_is_one():
    for top in MAY_NOT_IMPORT:
        for folder in {path.parent for path in python_files(top)}:
            assert (ROOT / folder / "__init__.py").is_file(), folder


def test_no_folder_of_a_machine_and_no_package_index_is_written_down():
    """PyTorch's public CPU index is the one exception. Split, so that this file does not match itself."""
    folders = "|".join(
        ["/ro" + "ot/", "/wo" + "rk/", "/ho" + "me/(?!aisle)", "/Us" + "ers/", "/op" + "t/py"]
    )
    hosts = "|".join(["pypi", "pythonhosted", "npmjs", "debian"])
    index = r"https?://(?!download\.pytorch\.org/whl/cpu)\S*/(?:simple|whl)\b"
    local = re.compile(rf"(?<![\w.*])(?:{folders})|(?:{hosts})\.(?:org|com)\b|{index}")
    found = []
    for path in tracked():
        content = (ROOT / path).read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if local.search(line):
                found.append(f"{path}:{number}: {line.strip()[:120]}")
    assert found == []
