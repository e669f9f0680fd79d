"""Where API keys come from, and that a mistake in them is said without saying them."""

from __future__ import annotations

import pytest

from aisle.config import AdmissionConfig, read_keys
from aisle.errors import ConfigError

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"


def from_file(path) -> AdmissionConfig:
    return AdmissionConfig(keys_file=str(path))


def test_nobody_needs_a_key_where_no_place_is_named():
    assert read_keys(AdmissionConfig()) == {}


def test_a_file_holds_one_a_line_with_comments_and_keys_may_hold_equals_signs(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# who calls\n\nshop = {KEY}\n  app={OTHER}==\n", "utf-8")
    assert read_keys(from_file(path)) == {"shop": KEY, "app": f"{OTHER}=="}


def test_a_variable_holds_them_with_commas(monkeypatch):
    monkeypatch.setenv("SHOP_KEYS", f"shop={KEY}, app={OTHER}")
    assert read_keys(AdmissionConfig(keys_env="SHOP_KEYS")) == {"shop": KEY, "app": OTHER}


WRONG = {
    "no name": f"={KEY}",
    "no equals sign": KEY,
    "too short a key": "shop=0123456789",
    "a name twice": f"shop={KEY}\nshop={OTHER}",
    "nothing in it": "# nobody yet\n",
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_said_and_no_key_with_it(case, tmp_path):
    path = tmp_path / "keys"
    path.write_text(WRONG[case], "utf-8")
    with pytest.raises(ConfigError) as caught:
        read_keys(from_file(path))
    assert str(path) in str(caught.value)
    assert KEY not in str(caught.value)
    assert "0123456789" not in str(caught.value)


def test_a_variable_that_is_not_set_lets_nobody_in_and_is_an_error():
    with pytest.raises(ConfigError, match="SHOP_KEYS holds no key"):
        read_keys(AdmissionConfig(keys_env="SHOP_KEYS"))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        read_keys(from_file(tmp_path / "none"))


def test_keys_come_from_one_place():
    with pytest.raises(ValueError, match="both set"):
        AdmissionConfig(keys_env="SHOP_KEYS", keys_file="keys")
