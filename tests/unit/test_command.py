"""Every job's last line is one JSON document, and its exit status says whether the work is done."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aisle.config import Settings
from aisle.errors import ConfigError, JobFailed
from jobs import command

CONFIG = Path(__file__).parents[2] / "configs" / "local.yaml"


def raising(error: Exception) -> Callable[[Settings, argparse.Namespace], dict[str, Any]]:
    def work(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
        raise error

    return work


def last_line(
    work: Callable[[Settings, argparse.Namespace], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
) -> tuple[int, dict[str, Any]]:
    monkeypatch.setattr(sys, "argv", ["job", "--config", str(CONFIG), "--quiet", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main("example", None, work)
    code = ended.value.code
    assert isinstance(code, int)
    parsed: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return code, parsed


def test_work_that_is_done_exits_0(monkeypatch, capsys):
    code, line = last_line(lambda *_: {"rows": 3}, monkeypatch, capsys)
    assert (code, line["ok"], line["rows"], line["job"]) == (0, True, 3, "example")


FAILURES = {
    "our own error": (JobFailed("step embed: out of disk"), 1, "JobFailed"),
    "a wrong setting": (ConfigError("index.shard: unknown key"), 2, "ConfigError"),
    "a bug": (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_says_which_and_exits_otherwise(name, monkeypatch, capsys):
    error, status, kind = FAILURES[name]
    code, line = last_line(raising(error), monkeypatch, capsys)
    assert (code, line["ok"], line["error"]) == (status, False, kind)
    assert line["message"] == str(error)


def test_an_unknown_key_on_the_command_line_exits_2(monkeypatch, capsys):
    code, line = last_line(lambda *_: {}, monkeypatch, capsys, "--set", "index.shard=3")
    assert code == 2
    assert "index.shard" in line["message"]
