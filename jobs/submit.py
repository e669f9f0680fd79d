"""Submits the nightly job to a running cluster, at most one at a time, and sees it through.

    python -m jobs.submit --config configs/production.yaml [--date 2026-11-28] [--again] [--address URL]
        [--no-upload] [--driver-cpus N] [--env NAME[=VALUE] ...] [-- --force]

The submission id follows from the environment's name and the date, `reindex-production-2026-11-28`, and a cluster takes
an id once: a second lock beside the lease in the store, and the place to look in `ray job list`. A night that failed or
was stopped is started again as `...-2`, `...-3`; one that is under way is left alone, which is an error; one that has
succeeded is done, unless --again. What follows `--` goes to `jobs.reindex`.

The job's log goes to standard error, its last line comes out as the last line here, and so does its exit status. Ending
this command does not end the job: `ray job stop ID` does. Like `ray job submit --working-dir . --runtime-env
infra/runtime_env.yaml`, it uploads the checkout it is started from; with --no-upload the nodes' own is run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml
from ray.job_submission import JobSubmissionClient

from aisle.config import Settings
from aisle.errors import ConfigError, JobFailed
from jobs import command

RUNTIME_ENV = Path("infra/runtime_env.yaml")
UNDER_WAY = ("PENDING", "RUNNING")


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Submits a night, or says why not; returns the last line of the job that stands for this date."""
    name = f"reindex-{settings.name}-{arguments.date}"
    if arguments.address:  # Ray lets the variable win over the argument
        os.environ["RAY_API_SERVER_ADDRESS"] = arguments.address
    try:
        client = JobSubmissionClient(arguments.address)
        jobs = {str(job.submission_id): str(job.status) for job in client.list_jobs()}
        before, following = attempts(jobs, name)
        if before and jobs[before] in UNDER_WAY:
            raise JobFailed(
                f"{before} is {jobs[before]}: one night at a time; follow it with `ray job logs --follow {before}`, "
                f"or stop it with `ray job stop {before}` and submit again"
            )
        if before and jobs[before] == "SUCCEEDED" and not arguments.again:
            done = {"submission_id": before, "status": jobs[before], "already": True}
            print(f"{before} has SUCCEEDED; --again would run once more", file=sys.stderr)
            return last_line(client.get_job_logs(before)) | done
        _submit(client, following, before and f"{before} {jobs[before]}", arguments)
        asyncio.run(_follow(client, following))
        info = client.get_job_info(following)
        said = last_line(client.get_job_logs(following))
    except (ConnectionError, RuntimeError) as error:
        raise JobFailed(
            f"{arguments.address or 'the cluster'}: {error}; name the dashboard with --address or "
            "RAY_API_SERVER_ADDRESS, such as http://head:8265, and the token in RAY_AUTH_TOKEN"
        ) from error
    status = str(info.status)
    if status != "SUCCEEDED" and said.get("ok", True):  # it was stopped, or died without a word
        said = {"error": "JobFailed", "message": f"{following} is {status}: {info.message}"}
    return said | {"ok": status == "SUCCEEDED", "submission_id": following, "status": status}


def attempts(jobs: Mapping[str, str], name: str) -> tuple[str | None, str]:
    """The last of a night's attempts among a cluster's jobs, none if there was none, and the id of the next one."""
    found = {
        int(match[1] or 1): each
        for each in jobs
        if (match := re.fullmatch(rf"{re.escape(name)}(?:-(\d+))?", each))
    }
    if not found:
        return None, name
    last = max(found)
    return found[last], f"{name}-{last + 1}"


def last_line(log: str) -> dict[str, Any]:
    """The JSON document that a job printed last; a job's log holds both of its outputs. Empty where there is none."""
    for line in reversed(log.splitlines()):
        with suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict) and "job" in document:
                return document
    return {}


def _submit(
    client: JobSubmissionClient, submission_id: str, before: str | None, arguments: Any
) -> None:
    words = ["python", "-m", "jobs.reindex", "--config", arguments.config]
    for each in arguments.overrides:
        words += ["--set", each]
    runtime_env: dict[str, Any] = {"env_vars": dict(map(_variable, arguments.env))}
    if not arguments.no_upload:
        if not RUNTIME_ENV.is_file():
            raise ConfigError(
                f"{RUNTIME_ENV}: not found below {Path.cwd()}; start this from the root of the checkout, or run what "
                "the nodes hold with --no-upload"
            )
        runtime_env |= {"working_dir": ".", **yaml.safe_load(RUNTIME_ENV.read_text())}
    try:
        client.submit_job(
            entrypoint=shlex.join([*words, *arguments.rest]),
            submission_id=submission_id,
            runtime_env=runtime_env,
            entrypoint_num_cpus=arguments.driver_cpus or None,
            metadata={"after": before} if before else None,
        )
    except RuntimeError as error:
        if "already exists" not in str(error):
            raise
        raise JobFailed(
            f"{submission_id} was submitted by someone else this moment; submit again to see how it stands"
        ) from error
    print(f"submitted {submission_id}{f', after {before}' if before else ''}", file=sys.stderr)


def _variable(text: str) -> tuple[str, str]:
    name, given, value = text.partition("=")
    if not given and name not in os.environ:
        raise ConfigError(
            f"--env {name}: not set here; set it, or give a value: --env {name}=VALUE"
        )
    return name, value if given else os.environ[name]


async def _follow(client: JobSubmissionClient, submission_id: str) -> None:
    """Shows the log until the job has ended."""
    async for lines in client.tail_job_logs(submission_id):
        print(lines, end="", file=sys.stderr, flush=True)
    while not client.get_job_status(submission_id).is_terminal():  # the log ends a moment before
        await asyncio.sleep(0.2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument(
        "--date",
        type=date.fromisoformat,
        default=datetime.now(UTC).date(),
        help="which night, as 2026-11-28; today by UTC",
    )
    parser.add_argument("--again", action="store_true", help="although this night has succeeded")
    parser.add_argument("--address", help="of the dashboard; RAY_API_SERVER_ADDRESS by default")
    parser.add_argument("--no-upload", action="store_true", help="run what the nodes hold")
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME[=VALUE]", help="for the job; repeatable"
    )
    parser.add_argument(
        "--driver-cpus",
        type=float,
        default=0.0,
        help="CPUs to reserve for the job's driver, which evaluates; with 0 it runs on the head",
    )
    parser.add_argument("rest", nargs="*", metavar="-- ...", help="options of jobs.reindex")


if __name__ == "__main__":
    command.main("submit", __doc__, run, add_arguments)
