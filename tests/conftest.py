"""What every test may use: where the real data sets are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Read once, here: the unit tests' environment is scrubbed of AISLE_* before they run.
_AISLE_DATA = os.environ.get("AISLE_DATA")


@pytest.fixture(scope="session")
def aisle_data() -> Path:
    """The folder of real data sets; without it the test skips, and with a wrong one it fails."""
    if not _AISLE_DATA:
        pytest.skip("AISLE_DATA is not set: it names the folder that holds the real data sets")
    folder = Path(_AISLE_DATA)
    if not folder.is_dir():
        pytest.fail(f"AISLE_DATA is {_AISLE_DATA!r}, which is no folder; unset it to skip the test")
    return folder
