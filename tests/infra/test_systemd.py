"""The units of infra/systemd: systemd reads them without complaint, and their commands and paths exist."""

from __future__ import annotations

import configparser
import importlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.command import parser_of

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra" / "systemd"
UNITS = sorted([*FOLDER.glob("*.service"), *FOLDER.glob("*.timer")])
HOME = "/opt/aisle"
"""Where the units expect the checkout."""


def verify(folder: Path, programs: Path) -> subprocess.CompletedProcess[str]:
    """`systemd-analyze verify` over copies whose checkout is `programs`, since it looks for the executables."""
    copies = []
    for unit in UNITS:
        copy = folder / unit.name
        copy.write_text(unit.read_text("utf-8").replace(HOME, str(programs)), "utf-8")
        copies.append(str(copy))
    return subprocess.run(
        ["systemd-analyze", "--man=no", "verify", *copies],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def checkout(folder: Path) -> Path:
    """A folder with the executables that the units start; whether they are this environment's is not the question."""
    for name in ("python", "ray", "serve"):
        program = folder / ".venv" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n", "utf-8")
        program.chmod(0o755)
    return folder


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_has_nothing_to_say_about_the_units(tmp_path):
    done = verify(tmp_path, checkout(tmp_path / "aisle"))
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_a_mistyped_key_is_noticed(tmp_path):
    programs = checkout(tmp_path / "aisle")
    wrong = tmp_path / "wrong.service"
    text = (FOLDER / "aisle-reindex.service").read_text("utf-8").replace(HOME, str(programs))
    wrong.write_text(text.replace("Nice=10", "Nicee=10"), "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "--man=no", "verify", str(wrong)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Unknown key" in done.stderr


def lines(path: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", path.read_text("utf-8"), re.MULTILINE)


def jobs_run() -> list[list[str]]:
    """Arguments of every `python -m`, of the units and of the cron line."""
    commands = [command for unit in UNITS for command in lines(unit, "ExecStart")]
    cron = (FOLDER / "aisle.cron").read_text("utf-8").splitlines()[-1]
    commands.append(cron.partition(" nice ")[2].partition(">>")[0])
    words = [shlex.split(command) for command in commands]
    return [each[each.index("-m") + 1 :] for each in words if "-m" in each]


def test_every_jobs_command_parses_with_its_own_parser():
    found = jobs_run()
    assert [each[0] for each in found] == ["jobs.reindex", "jobs.prune", "jobs.reindex"]
    for words in found:
        module = importlib.import_module(words[0])
        add = getattr(module, "add_arguments", None)
        arguments = parser_of(words[0], module.__doc__, add).parse_args(words[1:])
        assert (ROOT / arguments.config).is_file()


def test_the_timer_starts_the_unit_of_its_name_once_a_night():
    timer = configparser.ConfigParser(interpolation=None, strict=True)
    timer.read(FOLDER / "aisle-reindex.timer", "utf-8")
    assert timer["Timer"]["OnCalendar"] == "*-*-* 03:00:00"
    assert timer["Timer"]["Persistent"] == "true"
    assert (FOLDER / "aisle-reindex.service").is_file()


def test_the_night_stays_inside_its_own_unit_and_behind_the_searches():
    unit = FOLDER / "aisle-reindex.service"
    assert lines(unit, "UnsetEnvironment") == ["RAY_ADDRESS"]
    assert int(lines(unit, "CPUWeight")[0]) < 100  # systemd's default
    assert int(lines(unit, "Nice")[0]) > 0


def test_serve_is_deployed_from_a_file_that_is_there():
    (command,) = lines(FOLDER / "aisle-serve.service", "ExecStart")
    assert (ROOT / shlex.split(command)[-1]).is_file()


def test_no_unit_runs_as_root_and_no_secret_is_in_it():
    for unit in FOLDER.glob("*.service"):
        assert lines(unit, "User") == ["aisle"]
        assert lines(unit, "EnvironmentFile") == ["/etc/aisle/environment"]
        assert not re.search(r"TOKEN|PASSWORD|SECRET", " ".join(lines(unit, "Environment")))
