"""Column rules: how a shop's own columns become the fields of a Product, as configuration.

Every rule has a shorthand, because most fields are one column: a string is a column's name, a list of strings is
several columns. A kind of field has its own kind of rule, so `brand: {column: b, scale: 2}` is an unknown key while
the configuration is read, not a surprise at night.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = str


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    column: Name | None = Field(None, min_length=1)
    """The source's column."""
    missing_ok: bool = False
    """A file without the column gives nulls. Off, it is an error, because a misspelt name would empty the field."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"column": given}
        if isinstance(given, list | tuple):
            return {"columns": given}
        return given

    @model_validator(mode="after")
    def _has_one_origin(self) -> _Rule:
        origins = [key for key in ("column", "columns", "value") if key in type(self).model_fields]
        given = [key for key in origins if getattr(self, key) not in (None, (), {})]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"give exactly one of {', '.join(origins)}; got {found}")
        return self

    def named_columns(self) -> tuple[Name, ...]:
        """Source columns that the rule reads, in order."""
        columns = getattr(self, "columns", None) or ()
        names = columns.values() if isinstance(columns, dict) else columns
        return ((self.column,) if self.column else ()) + tuple(names)


class TextRule(_Rule):
    """A text: `title`, `[brand, name]`, `{columns: [brand, name], join: " - "}` or `{value: USD}`."""

    columns: tuple[Name, ...] | None = Field(None, min_length=1)
    """Several columns, joined; empty ones are left out."""
    join: str = " "
    """Stands between the texts of `columns`."""
    value: str | None = None
    """A constant for every row."""
    default: str | None = None
    """Stands in where the source is empty."""


class PriceRule(_Rule):
    """A price: `price`, or `{column: price_cents, scale: 0.01}`."""

    scale: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Multiplies the source's number; 0.01 turns cents into units."""
    value: float | None = Field(None, ge=0, allow_inf_nan=False)
    """A constant for every row."""
    default: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Stands in where the source is empty."""


class CategoryRule(_Rule):
    """A category path, root first: `{column: path, split: " > "}`, or one column a level: `[department, aisle]`."""

    columns: tuple[Name, ...] | None = Field(None, min_length=1)
    """One column a level, root first; empty ones are left out."""
    split: str | None = Field(None, min_length=1)
    """Cuts a text into levels. Without it a text is one level; a column of lists needs neither."""
    format: Literal["json"] | None = None
    """`json`: the text is a JSON list of levels."""
    value: tuple[str, ...] | None = Field(None, min_length=1)
    """A constant path for every row."""

    @model_validator(mode="after")
    def _one_reading(self) -> CategoryRule:
        if self.split and self.format:
            raise ValueError(
                "split and format: json exclude each other; a JSON list is already cut"
            )
        return self


class AttributesRule(_Rule):
    """Attributes: `{column: attributes_json, format: json}`, or plain columns: `{columns: [color, material]}`.

    `{column: features, format: pairs}` reads a text such as `width : 64.7 | style : modern`.
    """

    columns: tuple[Name, ...] | dict[str, Name] | None = Field(None, min_length=1)
    """Plain columns, each an attribute of its own name; or `{attribute: column}` to name it otherwise."""
    format: Literal["json", "pairs"] | None = None
    """`json`: `column` holds a JSON object as text; `pairs`: names and values with a colon between them. A column of
    Arrow maps or structs needs no format."""
    split: str | None = Field(None, min_length=1)
    """Cuts each text of `columns` into several values: "red;blue"; with `pairs` stands between two pairs, a bar unless
    given."""
    strip_prefix: tuple[str, ...] = ()
    """Taken off the front of attribute names, the first that fits: `[attr_t_, attr_n_]`."""

    @model_validator(mode="after")
    def _shape(self) -> AttributesRule:
        if self.format and self.columns:
            raise ValueError(f"format: {self.format} goes with `column`; `columns` are plain texts")
        if self.split and self.column and self.format != "pairs":
            raise ValueError("split goes with `columns`; a JSON object or a map is already cut")
        return self


class FlagRule(_Rule):
    """A yes or no: `in_stock`, or `{value: true}`."""

    value: bool | None = None
    """A constant for every row."""
    default: bool = True
    """Stands in where the source is empty."""


class TimeRule(_Rule):
    """A point in time: timestamps, dates, ISO 8601 texts or epoch numbers. Without a zone it is UTC."""

    unit: Literal["s", "ms", "us"] | None = None
    """Unit of epoch numbers. Without it numbers below 1e11 are seconds (to the year 5138), others milliseconds."""


class ColumnMap(BaseModel):
    """The fields of a Product, each with its rule; only product_id and title are required."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    product_id: TextRule
    """Unique in the catalogue; whole numbers become text. A later row with the same id replaces the earlier."""
    title: TextRule
    """What the shopper reads first. HTML is reduced to its text."""
    description: TextRule | None = None
    """Longer text. HTML is reduced to its text."""
    brand: TextRule | None = None
    """Maker or label."""
    category: CategoryRule | None = None
    """Path from the root; a filter on a category matches its subtree."""
    price: PriceRule | None = None
    """Not negative. An empty price is a product without one: it fits no price filter."""
    currency: TextRule | None = None
    """Code of the price's currency, such as `{value: USD}`; kept in capitals."""
    attributes: AttributesRule | None = None
    """Names with their values; each can be filtered on and counted as a facet."""
    image_url: TextRule | None = None
    """Shown with a hit, never fetched."""
    available: FlagRule | None = None
    """Whether it can be bought; true where the source says nothing."""
    updated_at: TimeRule | None = None
    """Decides which of several rows with one id stays."""

    def rules(self) -> Iterator[tuple[str, _Rule]]:
        """The fields that have a rule, in the order of the Product contract."""
        for field in type(self).model_fields:
            if (rule := getattr(self, field)) is not None:
                yield field, rule

    def named_columns(self) -> tuple[Name, ...]:
        """Every source column that some rule reads, each once, in order."""
        return tuple(dict.fromkeys(c for _, rule in self.rules() for c in rule.named_columns()))

    def required_columns(self) -> tuple[Name, ...]:
        """Those of `named_columns` whose absence from a file is an error."""
        strict = (rule for _, rule in self.rules() if not rule.missing_ok)
        return tuple(dict.fromkeys(column for rule in strict for column in rule.named_columns()))
