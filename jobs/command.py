"""What every job's command shares: arguments, logging, the last line, the exit status.

The last line on standard output is one JSON document, whatever happened; everything else goes to standard error. Exit
status 0 means that the work is done; 1 that it failed with a message that says what to do; 2 that the command was
wrong.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from aisle.config import Settings, load
from aisle.errors import AisleError, ConfigError, GateBreached

Arguments = argparse.Namespace
Work = Callable[[Any, Arguments], dict[str, Any]]


def main(
    job: str,
    description: str | None,
    work: Work,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    *,
    several: bool = False,
) -> None:
    """Runs a job and exits the process.

    Args:
        job: its name, such as `reindex`.
        description: for --help; the module's docstring.
        work: does it, and returns what the last line shows; `"ok": False` in it makes the exit status 1.
        add_arguments: the job's own options.
        several: --config may be repeated, and the work gets a list of settings instead of one.
    """
    arguments = parser_of(job, description, add_arguments, several=several).parse_args()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING if arguments.quiet else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for chatty in ("faiss", "ray", "httpx", "onnxscript", "torch"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    started = time.perf_counter()
    try:
        settings: Settings | list[Settings]
        if several:
            settings = [load(each, arguments.overrides) for each in arguments.config]
        else:
            settings = load(arguments.config, arguments.overrides)
        result = work(settings, arguments)
        status = 0 if result.get("ok", True) else 1
    except ConfigError as error:
        result, status = _failure(error), 2
    except AisleError as error:
        result, status = _failure(error), 1
    except (
        Exception
    ) as error:  # a bug or a library's own error: the trace for us, the last line for the caller
        traceback.print_exc()
        result, status = {"error": type(error).__name__, "message": str(error)}, 1
    print(
        json.dumps(
            {
                "job": job,
                "ok": status == 0,
                "seconds": round(time.perf_counter() - started, 2),
                **result,
            }
        ),
        flush=True,
    )
    sys.exit(status)


def parser_of(
    job: str,
    description: str | None,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    *,
    several: bool = False,
) -> argparse.ArgumentParser:
    """The command's parser: what all jobs take, and the job's own. For what checks a command without running it."""
    parser = argparse.ArgumentParser(
        prog=f"python -m jobs.{job}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        required=True,
        action="append" if several else "store",
        help="an environment's file, such as configs/local.yaml" + "; may be repeated" * several,
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="overrides one setting; may be repeated",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    if add_arguments:
        add_arguments(parser)
    return parser


def _failure(error: AisleError) -> dict[str, Any]:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    failure: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, GateBreached):
        failure["breaches"] = list(error.breaches)
    return failure
