"""A made-up shop: products, judged queries and rewriter examples, the same for the same seed."""

from aisle.catalog.sample.build import JUDGMENT_SCHEMA, Sample, build_sample
from aisle.catalog.sample.grading import Intent, grade
from aisle.catalog.sample.lexicon import Lexicon, build_lexicon
from aisle.catalog.sample.phrases import SEGMENT_TYPES
from aisle.catalog.sample.products import Item
from aisle.catalog.sample.queries import QUERIES_PER_KIND, JudgedQuery
from aisle.catalog.sample.rewrites import RewriteExample, generate_queries
from aisle.catalog.sample.writing import SampleFormat, write_sample

__all__ = [
    "JUDGMENT_SCHEMA",
    "QUERIES_PER_KIND",
    "SEGMENT_TYPES",
    "Intent",
    "Item",
    "JudgedQuery",
    "Lexicon",
    "RewriteExample",
    "Sample",
    "SampleFormat",
    "build_lexicon",
    "build_sample",
    "generate_queries",
    "grade",
    "write_sample",
]
