"""Settings: one file is read once, and every mistake in it names the file, the key, the value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisle.config import Settings, load
from aisle.errors import ConfigError

MINIMAL = """
name: test
store: s3://bucket/store
catalog:
  source: {url: "s3://bucket/products.parquet"}
  columns: {product_id: id, title: name}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str = "") -> Path:
        path = tmp_path / "some.yaml"
        path.write_text(MINIMAL + text)
        return path

    return write


def test_a_minimal_file_takes_every_default(write) -> None:
    settings = load(write())
    assert settings.index.shards == 2
    assert settings.encoder.runtime == "onnx"
    assert settings.catalog.columns.title.column == "name"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retrival: {}", r"retrival: unknown key; allowed here: .*retrieval"),
        ("index: {shard: 3}", r"index\.shard: unknown key; allowed here: .*shards"),
        ("index: {dense: {ef: 3}}", r"index\.dense\.ef: unknown key; allowed here: .*hnsw_m"),
        ("index: {shards: 0}", r"index\.shards: got 0; .*greater than or equal to 1"),
        ("index: {shards: many}", r"index\.shards: got 'many'; .*integer"),
        (
            "index: {dense: {kind: tree}}",
            r"index\.dense\.kind: got 'tree'; .*'flat', 'sq8', 'hnsw' or 'ivf'",
        ),
        (
            "encoder: {runtime: onnx, precision: fp16}",
            r"encoder: .*precision is fp16; runtime onnx .* fp32 or int8",
        ),
        (
            "encoder: {runtime: torch, precision: int8}",
            r"encoder: .*precision is int8; runtime torch .* fp32 or fp16",
        ),
        ("ray: {num_cpus: 2, embed_workers: 2}", r"ray: .*num_cpus must be larger"),
        ("retrieval: {dense_depth: 0, lexical_depth: 0}", r"both 0; leave one side on"),
        ("name: test", r"not valid YAML: the key 'name' is there twice"),
        ("encoder: [1, 2", r"not valid YAML"),
        ("? [a, b]\n: 1", r"the key \['a', 'b'\] is not a text; quote it|not valid YAML"),
    ],
)
def test_a_mistake_names_file_key_value_and_what_is_allowed(write, text: str, said: str) -> None:
    path = write(text)
    with pytest.raises(ConfigError, match=rf"(?s){path}: .*{said}"):
        load(path)


def test_an_unknown_rule_of_a_column_names_the_rules(write) -> None:
    path = write()
    path.write_text(path.read_text().replace("title: name", "title: {column: name, jion: x}"))
    with pytest.raises(
        ConfigError, match=r"columns\.title\.jion: unknown key; allowed here: .*join"
    ):
        load(path)


def test_a_missing_section_is_named(write) -> None:
    path = write()
    path.write_text("name: test\nstore: x\n")
    with pytest.raises(ConfigError, match="catalog: required key is missing"):
        load(path)


@pytest.mark.parametrize(
    ("text", "found"), [("- a\n- b", "list"), ("just text", "str"), ("", "NoneType")]
)
def test_a_file_that_is_no_mapping_says_what_it_is(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"holds {found}, expected a mapping of sections"):
        load(path)


def test_a_missing_file_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read .*configs/local\.yaml"):
        load(tmp_path / "gone.yaml")


def test_variables_are_filled_in_and_a_missing_one_names_its_key(
    write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCKET", "s3://mine")
    text = 'store_options: {key: "${BUCKET}/a", other: "${GONE:-b}", none: "${GONE:-}"}'
    assert load(write(text)).store_options == {"key": "s3://mine/a", "other": "b", "none": ""}
    with pytest.raises(ConfigError, match=r"store_options\.key names \$\{GONE\}, which is not set"):
        load(write('store_options: {key: "${GONE}"}'))
    with pytest.raises(ConfigError, match=r"store_options\.keys\[1\] names"):
        load(write('store_options: {keys: [a, "${GONE}"]}'))


def test_words_that_old_yaml_takes_for_booleans_are_texts(write) -> None:
    settings = load(write("rewriter: {mode: off}\nstore_options: {no: yes, on: true}"))
    assert settings.rewriter.mode == "off"
    assert settings.store_options == {"no": "yes", "on": True}


def test_keys_that_yaml_takes_for_numbers_or_booleans_are_texts(write) -> None:
    settings = load(write("store_options: {7: a, 1.50: b, true: c}"))
    assert settings.store_options == {"7": "a", "1.50": "b", "true": "c"}


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("index.shards=4", ("index", "shards"), 4),
        ("rewriter.mode=off", ("rewriter", "mode"), "off"),
        ("evaluation.judgments=null", ("evaluation", "judgments"), None),
        ("retrieval.dense_weight=0.25", ("retrieval", "dense_weight"), 0.25),
        ("catalog.text_fields=[title, brand]", ("catalog", "text_fields"), ("title", "brand")),
        ("catalog.source.url=[s3://a, s3://b]", ("catalog", "source", "url"), ("s3://a", "s3://b")),
        ("store_options.a.b=1", ("store_options",), {"a": {"b": 1}}),
        ("name=a=b", None, None),
    ],
)
def test_overrides_go_over_the_file(write, override: str, key, value) -> None:
    if key is None:
        with pytest.raises(ConfigError, match="name: got 'a=b'"):
            load(write(), [override])
        return
    found = (
        load(write("index:\nstore_options: {}"), [override])
        if key[0] == "index"
        else load(write(), [override])
    )
    for part in key:
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("index.shards", "expected section.key=value"),
        ("=3", "expected section.key=value"),
        ("index..shards=3", "expected section.key=value"),
        ("name.x=3", "name is a value, not a section"),
        ("index.shards=[1", "not valid YAML"),
        ("index.shard=3", "index.shard: unknown key"),
    ],
)
def test_a_wrong_override_names_itself(write, override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(write(), [override])


def test_local_paths_are_resolved_where_the_command_was_started(write, tmp_path: Path) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    settings = load(
        write(
            "work_dir: w\nserving: {cache_dir: ./c}\nevaluation: {judgments: j.parquet}\n"
            "ranker: {model: ../ranker}\nencoder: {model: org/model}\nrelevance: {model: ~/relevance}"
        ),
        ["store=out/store", "catalog.source.url=[a/*.csv, ~/b.csv, 's3://c']"],
    )
    home = Path.home()
    assert settings.store == str(tmp_path / "out" / "store")
    assert settings.work_dir == str(tmp_path / "w")
    assert settings.serving.cache_dir == str(tmp_path / "c")
    assert settings.evaluation.judgments == str(tmp_path / "j.parquet")
    assert settings.catalog.source.url == (str(tmp_path / "a/*.csv"), str(home / "b.csv"), "s3://c")
    assert settings.ranker.model == str(tmp_path.parent / "ranker")
    assert settings.relevance.model == str(home / "relevance")
    assert settings.encoder.model == str(tmp_path / "org" / "model")


@pytest.mark.parametrize(
    "url", ["s3://b/k", "memory://x", "file:///a/b", "https://h/p", "zip://a::s3://b"]
)
def test_urls_stay_as_they_are(write, url: str) -> None:
    settings = load(write(), [f"store={url}", f"catalog.source.url={url}"])
    assert (settings.store, settings.catalog.source.url) == (url, url)


def test_names_of_models_on_a_hub_and_rules_stay_as_they_are(write, tmp_path: Path) -> None:
    (tmp_path / "fused").mkdir()
    settings = load(write("ranker: {model: fused}\nrewriter: {model: org/gone}"))
    assert (settings.ranker.model, settings.rewriter.model) == ("fused", "org/gone")
    assert settings.encoder.model == "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("index.shards=3", False),
        ("index.dense.kind=hnsw", False),
        ("index.lexical.stemmer=german", False),
        ("catalog.columns.brand=maker", False),
        ("catalog.text_fields=[title]", False),
        ("index.dense.hnsw_ef_search=64", True),
        ("index.lexical.boosts={title: 1}", False),
        ("index.max_delta_segments=3", True),
        ("catalog.quarantine_max_fraction=0.5", True),
        ("catalog.source.url=other", True),
        ("serving.port=9000", True),
    ],
)
def test_only_what_decides_how_rows_become_segments_is_in_the_hash(
    write, override: str, same: bool
) -> None:
    path = write()
    assert (load(path).index_hash() == load(path, [override]).index_hash()) is same


def test_settings_cannot_be_changed_in_place(write) -> None:
    settings: Settings = load(write())
    with pytest.raises(ValueError, match="frozen"):
        settings.store = "elsewhere"  # type: ignore[misc]
