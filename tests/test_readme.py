"""What README says can be done: its commands, its examples and its map of files are checked against the tree."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from aisle.catalog import ColumnMap
from aisle.schema import SearchRequest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
JOBS = sorted(
    set(re.findall(r"jobs\.([a-z_]+)", README)) | set(re.findall(r"`(train_[a-z]+)`", README))
)


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_every_job_that_readme_names_explains_itself(job):
    done = subprocess.run(
        [sys.executable, "-m", f"jobs.{job}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"jobs.{job}" in done.stdout


def test_every_make_target_that_readme_names_is_there():
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= targets


def test_the_column_rules_are_valid():
    (block,) = [each for each in blocks("yaml") if "columns:" in each]
    columns = ColumnMap.model_validate(yaml.safe_load(block)["catalog"]["columns"])
    assert columns.price is not None


def test_the_example_request_is_valid():
    (block,) = [each for each in blocks("sh") if "curl" in each]
    body = json.loads(re.findall(r"-d '(.*?)'", block, re.DOTALL)[0])
    assert SearchRequest.model_validate(body).query == "runing shoes"


def test_the_file_map_names_what_is_there():
    (block,) = [each for each in blocks("") if "pipeline.py" in each]
    folder = ROOT
    for line in block.splitlines():
        names, indented = line.split("  ")[0] or line.strip().split("  ")[0], line.startswith("  ")
        if not indented:
            folder = ROOT / names.split()[0]
            assert folder.is_dir(), names
            continue
        # Names come first, each with a suffix or a slash; the first other word begins what is said about them.
        named = re.match(r"(?:[\w.]+(?:/|\.py|\.md|\.yaml) ?)+", line.strip())
        assert named, line
        for name in named.group().split():
            assert (folder / name).exists(), f"{folder.name}/{name}"


def test_every_file_that_readme_points_to_is_there():
    for path in re.findall(r"`((?:configs|infra|platform)/[\w./-]+)`", README):
        assert (ROOT / path).exists(), path
