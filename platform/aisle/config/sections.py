"""Every section of an environment's file, typed: what a setting means, how to choose it, what its limits are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from aisle.catalog.rules import ColumnMap

TextField = Literal["title", "brand", "category", "attributes", "description"]
Precision = Literal["fp32", "fp16", "int8"]
_PRECISIONS = {"onnx": ("fp32", "int8"), "torch": ("fp32", "fp16")}


class Section(BaseModel):
    """A part of the configuration: immutable, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def _as_texts(given: Any) -> Any:
    """`us`, `1` or `[us, ca]` as texts; a bool as YAML writes it."""
    values = given if isinstance(given, list | tuple) else [given]
    return tuple(str(v).lower() if isinstance(v, bool) else str(v) for v in values)


Where = dict[str, Annotated[tuple[str, ...], BeforeValidator(_as_texts)]]
"""Column -> the value, or the values, that a row must have there to be read; compared as texts."""


class SourceConfig(Section):
    """Where the catalogue lies."""

    url: str | tuple[str, ...]
    """File, folder or glob, or several: any fsspec URL (local path, s3://, gs://, hf://, memory://)."""
    format: Literal["auto", "parquet", "csv", "jsonl"] = "auto"
    """`auto` goes by the file's extension; .gz is understood for csv and jsonl."""
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """Between the fields of a CSV line; none takes the first of comma, semicolon, tab and bar that fits the header."""
    where: Where = Field(default_factory=dict)
    """Only rows with these values are read, such as `{product_locale: us}`; the others are neither products nor
    rejected."""
    storage_options: dict[str, Any] = Field(default_factory=dict)
    """Passed to fsspec, such as `{endpoint_url: ..., anon: true}`. Secrets as `${NAME}`."""


class CatalogConfig(Section):
    """How source rows become products."""

    source: SourceConfig
    columns: ColumnMap
    """The shop's own columns mapped onto the Product contract."""
    quarantine_max_fraction: float = Field(0.05, ge=0, le=1)
    """More rejected rows than this share fails the job; the rows and reasons stay in the run's folder."""
    text_fields: tuple[TextField, ...] = (
        "title",
        "brand",
        "category",
        "attributes",
        "description",
    )
    """What the encoder reads of a product, in this order. Fewer fields embed faster."""
    text_max_chars: int = Field(1000, ge=32)
    """The text is cut here before tokenising; about 4 characters make a token."""


class EncoderConfig(Section):
    """Which model turns text into vectors."""

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Local folder or Hugging Face name; resolved locally first (design: path, cache, package, hub)."""
    missing: Literal["error", "base"] = "error"
    """When `model` is not a folder that is there: fail (a Hugging Face name is looked up first), or take `base`.

    `base` is for a folder that `jobs.train_encoder` will write: the first night has nothing to train on yet.
    """
    base: str = "sentence-transformers/all-MiniLM-L6-v2"
    """What `jobs.train_encoder` begins with, and what serves until `model` is there if `missing` says so."""
    runtime: Literal["onnx", "torch", "hashing"] = "onnx"
    """`onnx` on CPU, `torch` on a GPU, `hashing` needs no model and knows only spelling: tests and first runs."""
    precision: Precision = "fp32"
    """Of the catalogue's vectors, part of their fingerprint: fp32 or int8 with onnx, fp32 or fp16 with torch."""
    query_precision: Precision = "int8"
    """Of queries, with onnx (torch encodes both kinds alike): fp32, or int8 per channel in a third of the time."""
    max_tokens: int = Field(128, ge=8, le=8192)
    """Longer product texts are cut. Embedding time grows in proportion."""
    query_max_tokens: int = Field(48, ge=8, le=8192)
    """Longer queries are cut."""
    query_prefix: str = ""
    """Put before every query; e5 models want `query: `."""
    document_prefix: str = ""
    """Put before every product text; e5 models want `passage: `."""
    dimension: int = Field(256, ge=8)
    """Only for `hashing`; real models have their own."""
    batch_rows: int = Field(32, ge=1)
    """Rows embedded in one call, after sorting by length."""

    @model_validator(mode="after")
    def _runtime_has_the_precision(self) -> EncoderConfig:
        allowed = _PRECISIONS.get(self.runtime)
        if allowed and self.precision not in allowed:
            raise ValueError(
                f"precision is {self.precision}; runtime {self.runtime} encodes at {' or '.join(allowed)}"
            )
        if self.runtime == "onnx" and self.query_precision not in _PRECISIONS["onnx"]:
            raise ValueError(
                f"query_precision is {self.query_precision}; runtime onnx encodes at fp32 or int8"
            )
        return self


class DenseConfig(Section):
    """The FAISS index of a segment."""

    kind: Literal["flat", "sq8", "hnsw", "ivf"] = "sq8"
    """flat is exact; sq8 near exact at a quarter of the memory; hnsw fastest on CPU; ivf for very large shards."""
    hnsw_m: int = Field(32, ge=4, le=128)
    """Links a node; more is better recall and more memory."""
    hnsw_ef_construction: int = Field(120, ge=8)
    """Candidates while building; raises build time and recall."""
    hnsw_ef_search: int = Field(192, ge=8)
    """Candidates while searching; never below the k asked for."""
    hnsw_ef_filtered: int = Field(512, ge=8)
    """The same under a filter that allows more than `brute_force_below_fraction` of the rows."""
    ivf_lists: int = Field(0, ge=0)
    """Inverted lists; 0 chooses 4 x sqrt(rows)."""
    ivf_probes: int = Field(32, ge=1)
    """Lists visited a query."""
    brute_force_below_fraction: float = Field(0.25, ge=0, le=1)
    """A filter that allows a smaller share of the rows is answered by exact search over the allowed rows."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """`auto` uses a GPU when faiss sees one and its selector self-test passes."""


class LexicalConfig(Section):
    """The BM25 side: which fields count how much."""

    boosts: dict[TextField, Annotated[int, Field(ge=0, le=32)]] = {
        "title": 5,
        "brand": 1,
        "category": 2,
        "attributes": 1,
        "description": 2,
    }
    """How often a field's words count (BM25F); a field left out is not searched. Changing it re-indexes."""
    stemmer: Literal["english", "german", "french", "spanish", "italian", "dutch", "none"] = (
        "english"
    )
    """Snowball stemmer; stop words are kept, they carry meaning in short titles."""


class IndexConfig(Section):
    """How the catalogue is cut and indexed."""

    shards: int = Field(2, ge=1, le=4096)
    """Products go to shards by a stable hash of their id; changing this re-indexes everything."""
    dense: DenseConfig = DenseConfig()
    lexical: LexicalConfig = LexicalConfig()
    max_delta_segments: int = Field(8, ge=0)
    """A shard with more delta segments than this is compacted into one."""
    max_tombstone_fraction: float = Field(0.2, ge=0, le=1)
    """A shard with a larger share of dead rows is compacted into one segment."""


class RetrievalConfig(Section):
    """How many candidates each side gives and how they are fused."""

    dense_depth: int = Field(200, ge=0, le=10_000)
    """Candidates by cosine; 0 turns the dense side off."""
    lexical_depth: int = Field(200, ge=0, le=10_000)
    """Candidates by BM25; 0 turns the lexical side off."""
    fusion: Literal["weighted", "rrf"] = "weighted"
    """`weighted`: w x cosine + (1 - w) x BM25 / the query's attainable BM25; `rrf`: reciprocal ranks."""
    dense_weight: float = Field(0.5, ge=0, le=1)
    """w above; in rrf the weight of the dense list."""
    rrf_k: int = Field(60, ge=1)
    """Constant of reciprocal rank fusion (Cormack et al., 2009)."""
    rank_depth: int = Field(200, ge=1, le=10_000)
    """Best fused candidates that the ranker scores; raised to offset + k where a request goes deeper."""
    recover_below: int = Field(1, ge=0, le=1000)
    """A page with fewer kept products than this is tried again without the query's least essential words; 0 never.

    What that finds is judged by the relevance filter against the query as it was, so an empty page may stay empty.
    """
    recover_attempts: int = Field(2, ge=0, le=5)
    """Retries at most, each with fewer words; each costs about a retrieval more, for thin pages alone."""
    expansion_weight: float = Field(0.3, ge=0, le=1)
    """Weight of a term that only a rewrite's expansion holds, against 1 for the query's own."""


class RewriterConfig(Section):
    """How queries are corrected, expanded and segmented: from the catalogue's words, and by a language model."""

    mode: Literal["off", "vllm"] = "vllm"
    """`off` serves without the language model."""
    spelling: bool = True
    """Repairs words that no product holds from the catalogue's own titles, with or without the model.

    Takes a quarter of a millisecond a query on average, 1.5 ms where something is repaired; at load about a second
    of CPU and 7 MB for 50,000 titles. At most 200,000 are read, an even sample of a larger catalogue.
    """
    segmenter: str = "off"
    """`off`, or a folder made by `jobs.train_segmenter`: names the type of every word in about a millisecond.

    A folder that is not there yet is left out with a warning. Segments feed the ranker's features, so train the ranker
    after switching this on or off.
    """
    model: str = "builtin"
    """`builtin`, a folder, or a Hugging Face name of any causal LM."""
    missing: Literal["error", "off"] = "error"
    """When `model` is not a folder that is there: fail (a Hugging Face name is looked up first), or do without.

    `off` is for a folder that `jobs.train_rewriter` will write: the first night has nothing to train on yet.
    """
    budget_ms: float = Field(250, ge=0)
    """The rewriter's share of a request's time, half of it at most; past it the original query is searched."""
    max_tokens: int = Field(64, ge=8, le=1024)
    """Longest answer of the model."""
    cache_entries: int = Field(10_000, ge=0)
    """Rewrites kept in memory, least recently used goes first."""
    max_concurrent: int = Field(64, ge=1)
    """Queries inside the engine at once."""
    kv_cache_gib: float = Field(0.5, gt=0)
    """Memory of the engine's key-value cache on CPU."""
    gpu_memory_fraction: float = Field(0.1, gt=0, le=1)
    """Share of a GPU's memory that the engine may take."""


class RankerConfig(Section):
    """The model that orders the candidates."""

    model: str = "builtin"
    """`builtin` (trained on the sample catalogue), `fused` (no model, the fused score orders), or a folder."""
    missing: Literal["error", "fused"] = "error"
    """When the folder is not there: fail, or order by the fused score. A first night has nothing to train on yet."""
    unjudged_per_query: int = Field(20, ge=0)
    """Training: retrieved candidates a query that nobody judged, taken as lowest; 0 where pools are shallow."""
    learn_from: tuple[str, ...] = ("train",)
    """Training: splits whose judgments teach ranker and relevance filter. A small set can spare no dev split; queries
    that a fine-tuned encoder has seen teach too much trust in the cosine."""
    recipe: str = "auto"
    """Training: `auto` compares every recipe on held-back queries and takes the best, a plain column included; or one
    of `linear`, `order`, `gain`, `order + gain`, ... (`aisle.rank.train`)."""
    folds: int = Field(3, ge=2, le=20)
    """Training: parts into which the queries are dealt for that comparison."""
    rounds: int = Field(200, ge=1)
    """Training: boosting rounds at most; the comparison may take fewer."""
    seeds: int = Field(1, ge=1, le=10)
    """Training: forests that are averaged; scoring time grows with them."""
    leaves: int = Field(31, ge=2)
    """Training: leaves of a tree."""
    min_rows_in_leaf: int = Field(20, ge=1)
    """Training: rows that a leaf must hold; more where judgments are few."""
    learning_rate: float = Field(0.06, gt=0, le=1)
    """Training: shrinkage."""
    monotone: tuple[str, ...] = ()
    """Training: features with which a tree's score must never fall."""


class RelevanceConfig(Section):
    """The calibrated cut."""

    model: str = "builtin"
    """`builtin` (trained on the sample catalogue), `cosine` (raw cosine, uncalibrated), or a folder."""
    missing: Literal["error", "cosine"] = "error"
    """When the folder is not there: fail, or take the raw cosine with threshold 0."""
    threshold: float | None = Field(None, ge=0, le=1)
    """Overrides the trained threshold; 0 keeps everything."""
    family: Literal["auto", "linear", "sqrt", "quadratic", "power", "logistic", "blend"] = "blend"
    """Training: the map from score to probability (Cosine Adapter); `auto` compares all and takes the best."""
    wanted_recall: float = Field(0.95, gt=0, le=1)
    """Training: the threshold keeps this share of the relevant pairs of the dev split."""
    wanted_precision: float | None = Field(None, gt=0, le=1)
    """Training: instead, the lowest threshold at which this share of what is kept is relevant."""


class ScalingConfig(Section):
    """When a deployment with room to grow gets more replicas; see platform/aisle/scaling.py.

    A deployment whose most is null keeps the replicas that `serving` names; those are its least where it may grow.
    """

    max_gateway_replicas: int | None = Field(None, ge=1)
    max_shard_replicas: int | None = Field(None, ge=1)
    max_ranker_replicas: int | None = Field(None, ge=1)
    ongoing_per_replica: float = Field(1.0, gt=0)
    """Requests inside one replica, waiting ones included, on the mean.

    A replica on CPU works on one batch at a time, so this is how busy it is: at 1 it idles a third of the time, which
    is what meets a burst until others have started. From 2 on replicas would come only once a queue stands.
    """
    latency_ms: float = Field(250.0, gt=0)
    """Objective for the 95th percentile of a replica's answers."""
    startup_s: float = Field(20.0, gt=0)
    """From a decision to a new replica's first answer: a process, its imports and the snapshot."""
    hold_s: float = Field(600.0, ge=0)
    """How long a peak keeps the replicas that it needed."""
    look_back_s: float = Field(15.0, gt=0)
    """Demand is the mean of so long. Longer than its interval between reports, which is 10 s and set on every node
    by RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S and RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S."""


class ServingConfig(Section):
    """The Serve application."""

    topology: Literal["fused", "split"] = "fused"
    """`fused`: retrieve, rank and filter in the gateway's process; `split`: each in its own deployment."""
    host: str = "127.0.0.1"
    """Address that HTTP binds to; loopback unless told otherwise."""
    port: int = Field(8000, ge=1, le=65535)
    """HTTP port."""
    cache_dir: str = ".aisle/cache"
    """Verified copies of served files; shared by the replicas of a node."""
    resident_snapshots: int = Field(2, ge=1)
    """Snapshots kept loaded: the live one and its predecessor."""
    poll_interval_s: float = Field(5.0, gt=0)
    """How often CURRENT is read."""
    remembered_vectors: int = Field(10_000, ge=0)
    """Query vectors that a gateway keeps of each resident snapshot; 0 keeps none."""
    remembered_answers: int = Field(0, ge=0)
    """Whole answers that a gateway keeps, of all resident snapshots; 0 keeps none.

    A page of 24 hits takes 15 to 25 KB. Degraded answers are not kept.
    """
    gateway_replicas: int = Field(1, ge=1)
    """Gateways; in `fused` each holds the whole snapshot."""
    shard_groups: int = Field(1, ge=1)
    """split: shards are dealt to this many deployments."""
    shard_replicas: int = Field(1, ge=1)
    """split: replicas of each shard group."""
    ranker_replicas: int = Field(1, ge=1)
    """split: replicas of the ranker."""
    threads: int = Field(1, ge=1)
    """Threads of ONNX Runtime and FAISS in one replica; replicas should not fight for cores."""
    batch_max: int = Field(8, ge=1)
    """Queries answered in one pass of the pipeline."""
    batch_wait_ms: float = Field(0.0, ge=0)
    """How long a batch waits for company where nothing is under way; while something is, it grows anyhow."""
    max_ongoing_requests: int = Field(64, ge=1)
    """With `max_queued_requests`: requests inside one gateway, beyond which it refuses with 429 and Retry-After. It
    refuses sooner what would wait longer than its own deadline."""
    max_queued_requests: int = Field(128, ge=0)
    """See `max_ongoing_requests`."""
    default_timeout_ms: float = Field(1000, gt=0)
    """Deadline of a request that names none."""
    max_timeout_ms: float = Field(5000, gt=0)
    """Longest deadline a request may ask for."""
    scaling: ScalingConfig = ScalingConfig()
    """Autoscaling; off until a most is named."""

    @model_validator(mode="after")
    def _most_is_not_less(self) -> ServingConfig:
        for part in ("gateway", "shard", "ranker"):
            least, most = (
                getattr(self, f"{part}_replicas"),
                getattr(self.scaling, f"max_{part}_replicas"),
            )
            if most is not None and most < least:
                raise ValueError(
                    f"scaling.max_{part}_replicas is {most}, {part}_replicas {least}; the most must not be less, or "
                    "null to keep to the least"
                )
        return self


class RayConfig(Section):
    """How jobs use the cluster."""

    num_cpus: int = Field(4, ge=2)
    """CPUs of a cluster that a job starts for itself; ignored when RAY_ADDRESS names one.

    Logical: at least `embed_workers` + 1, or an actor pool holds every CPU and the tasks that feed it wait for ever.
    """
    object_store_bytes: int = Field(1_000_000_000, ge=80_000_000)
    """Object store of a cluster that a job starts for itself."""
    embed_workers: int = Field(2, ge=1)
    """Size of the actor pool that embeds."""
    embed_threads: int = Field(1, ge=1)
    """Threads of one embedding worker."""
    embed_gpus: float = Field(0.0, ge=0)
    """GPUs of one embedding worker."""
    part_fraction: float = Field(0.005, gt=0, le=1)
    """What a kill may cost: the parts under way in all `embed_workers` together hold at most this share of the rows.

    Smaller parts lose less and cost more: two small files and a few hundredths of a second each.
    """

    @model_validator(mode="after")
    def _tasks_have_a_cpu(self) -> RayConfig:
        if self.num_cpus <= self.embed_workers:
            raise ValueError(
                f"num_cpus is {self.num_cpus}, embed_workers {self.embed_workers}; num_cpus must be larger, "
                "or the pool starves the tasks that feed it"
            )
        return self
