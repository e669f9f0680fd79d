"""Which attempt of a night is next, and which line of a job's log is its last word."""

from __future__ import annotations

import pytest

from jobs.submit import attempts, last_line

NIGHT = "reindex-local-2026-11-28"


@pytest.mark.parametrize(
    ("there", "last", "following"),
    [
        ([], None, NIGHT),
        ([f"{NIGHT}x", "reindex-local-2026-11-27", f"reindex-{NIGHT}"], None, NIGHT),
        ([NIGHT], NIGHT, f"{NIGHT}-2"),
        ([NIGHT, f"{NIGHT}-2"], f"{NIGHT}-2", f"{NIGHT}-3"),
        ([NIGHT, f"{NIGHT}-9", f"{NIGHT}-10"], f"{NIGHT}-10", f"{NIGHT}-11"),  # by number
        ([f"{NIGHT}-3"], f"{NIGHT}-3", f"{NIGHT}-4"),  # a cluster forgets old jobs
    ],
)
def test_attempts_count_up(there: list[str], last: str | None, following: str) -> None:
    assert attempts(dict.fromkeys(there, "FAILED"), NIGHT) == (last, following)


def test_an_environment_whose_name_begins_like_another_has_its_own_nights() -> None:
    jobs = {"reindex-local-2-2026-11-28": "RUNNING"}
    assert attempts(jobs, NIGHT) == (None, NIGHT)


def test_the_last_document_of_a_job_is_found_among_what_it_logged() -> None:
    log = "\n".join(
        [
            '{"job": "reindex", "ok": false}',
            '{"job": "reindex", "ok": true, "snapshot": "s"}',
            '{"level": "info"}',
            "2026-11-28 03:00:00 INFO: {not json}",
            "",
        ]
    )
    assert last_line(log) == {"job": "reindex", "ok": True, "snapshot": "s"}
    assert last_line("Traceback ...\nKilled") == {}
    assert last_line("") == {}
