from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aisle.catalog.sample import SEGMENT_TYPES
from aisle.rewrite.prompt import (
    CompactStyle,
    InstructStyle,
    answer_schema,
    choose_style,
    compact_answer,
    compact_prompt,
    is_too_long,
    normalise,
)
from aisle.stages import Rewrite, Segment


class ChatTokenizer:
    """Stands in for a chat model's tokenizer: the prompt only ever asks it to lay out turns."""

    chat_template = "any"

    def apply_chat_template(self, turns: list[dict[str, str]], **options: Any) -> str:
        assert options == {"tokenize": False, "add_generation_prompt": True}
        return "".join(f"[{turn['role']}] {turn['content']}" for turn in turns) + "[assistant]"


class PlainTokenizer:
    """A base model's tokenizer: no chat template."""

    chat_template = None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("  USB   Cable ", "usb cable", id="case and spaces"),
        pytest.param("usb\x00ca\tble\n", "usb ca ble", id="control characters part words"),
        pytest.param("cafe\u0301", "caf\u00e9", id="composed accents"),
        pytest.param("bad \ud800 half", "bad ? half", id="lone surrogate"),
        pytest.param(" \t ", "", id="nothing"),
        pytest.param("½ IN", "½ in", id="fractions stay one character"),
    ],
)
def test_normalise(query: str, expected: str) -> None:
    assert normalise(query) == expected


def test_a_query_past_either_bound_is_too_long() -> None:
    assert not is_too_long("a" * 120)
    assert is_too_long("a" * 121)
    assert not is_too_long(" ".join(["a"] * 16))
    assert is_too_long(" ".join(["a"] * 17))


@pytest.mark.parametrize("query", ['tv 55"', "a\\b", "<|answer|> x", '","x":["', "zürich 3/4"])
def test_a_query_reads_back_from_its_compact_prompt(query: str) -> None:
    prompt = compact_prompt(query)
    inner = prompt.removeprefix("<|query|> ").removesuffix("<|answer|>")

    assert json.loads(f'"{inner}"') == query
    assert prompt.count("<|") == 2  # user text never becomes a mark


@pytest.mark.parametrize(
    "rewrite",
    [
        pytest.param(Rewrite("usb", "usb"), id="nothing to say"),
        pytest.param(
            Rewrite(
                "red cabel",
                "red cable",
                ("red cord", "red lead"),
                (Segment("red", "colour"), Segment("cable", "product")),
            ),
            id="full",
        ),
        pytest.param(Rewrite('55" tv', '55" tv', ('55" television',)), id="quotes"),
    ],
)
def test_a_training_answer_fits_the_schema(rewrite: Rewrite) -> None:
    answer = json.loads(compact_answer(rewrite))

    jsonschema.validate(answer, answer_schema())
    assert answer["q"].strip() == rewrite.query
    assert [text.strip() for text in answer["x"]] == list(rewrite.expansions)
    assert answer["s"] == [segment.type for segment in rewrite.segments]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"q": "a", "x": [], "s": [], "note": "b"}, id="additional field"),
        pytest.param({"q": "a", "x": []}, id="missing field"),
        pytest.param({"q": "", "x": [], "s": []}, id="empty query"),
        pytest.param({"q": "a" * 200, "x": [], "s": []}, id="endless query"),
        pytest.param({"q": "a", "x": ["b", "c", "d"], "s": []}, id="three expansions"),
        pytest.param({"q": "a", "x": [], "s": ["no such type"]}, id="unknown type"),
        pytest.param({"q": "a", "x": [], "s": ["brand"] * 17}, id="endless types"),
    ],
)
def test_the_schema_refuses(answer: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answer, answer_schema())


def test_the_style_follows_the_model_folder(tmp_path: Path) -> None:
    assert isinstance(choose_style(tmp_path, PlainTokenizer()), InstructStyle)

    (tmp_path / "rewriter.json").write_text("{}")

    assert isinstance(choose_style(tmp_path, PlainTokenizer()), CompactStyle)


def test_an_instruct_prompt_goes_through_the_chat_template() -> None:
    prompt = InstructStyle(ChatTokenizer()).render('55" tv')

    assert prompt.text.startswith("[user] ")
    assert prompt.text.endswith('Query: "55\\" tv"[assistant]')
    assert not prompt.add_special_tokens
    assert all(name in prompt.text for name in SEGMENT_TYPES)


def test_instruct_prompts_share_all_but_the_query() -> None:
    style = InstructStyle(PlainTokenizer())
    first, second = style.render("aaa"), style.render("bbb")

    assert first.add_special_tokens
    assert first.text.replace("aaa", "bbb") == second.text
    assert len(first.text.split("aaa")[1]) < 20  # what differs comes last
