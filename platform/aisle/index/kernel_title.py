"""The ranker's features of word order and near misses: where in a title the query's words stand, and what almost fits.

A pass beside `aisle.index.kernel`. It answers what a bag of words cannot: is the product what the query names
last, or a part of it ("mower" against "blade for a mower")? Do the numbers agree that stand before one unit ("10 ft"
against "8 ft")? Is a missing word only misspelt? A row's numbers depend on the row and the query alone.

The title's head is the word before the first connector ("drill" in "cordless drill with case"); where there is none,
the last word. `in` connects unless a number stands before it, where it is the unit.

NOTE: numba keys its cache by this file; a change to what it takes from `aisle.index.kernel_basic` needs a change here
too.
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from aisle.index.kernel_basic import _FIELDS, _array, _compiled, _find, _table
from aisle.index.kinds import CONNECTOR, NUMERIC, UNIT

_LONGEST = 128
"""Title words looked at."""
_START = 3
"""Words that make the beginning of a title."""
_NEAR = 0.6
"""Share of a missing word's trigrams from which the title is taken to hold a spelling of it."""

_TITLE, _ATTRIBUTES, _DESCRIPTION = 0, 3, 4
COLUMNS = (
    "first_match",
    "head_matched",
    "head_is_query_head",
    "query_head_in_title",
    "query_head_before_connector",
    "coverage_head",
    "coverage_start",
    "coverage_attributes",
    "coverage_description",
    "longest_run",
    "ordered_share",
    "match_density",
    "numbers_in_title",
    "unit_agreement",
    "unit_conflict",
    "title_numbers",
    "missing_idf_max",
    "rarest_in_title",
    "fuzzy_coverage",
    "near_terms",
    "trigram_jaccard",
    "attribute_agreement",
    "attribute_conflict",
)
"""What the columns are called, in their order."""
# fmt: off
(
    _FIRST_MATCH, _HEAD_MATCHED, _HEAD_IS_QUERY_HEAD, _QUERY_HEAD_IN_TITLE, _QUERY_HEAD_BEFORE_CONNECTOR,
    _COVERAGE_HEAD, _COVERAGE_START, _COVERAGE_ATTRIBUTES, _COVERAGE_DESCRIPTION, _LONGEST_RUN,
    _ORDERED_SHARE, _MATCH_DENSITY, _NUMBERS_IN_TITLE, _UNIT_AGREEMENT, _UNIT_CONFLICT,
    _TITLE_NUMBERS, _MISSING_IDF_MAX, _RAREST_IN_TITLE, _FUZZY_COVERAGE, _NEAR_TERMS,
    _TRIGRAM_JACCARD, _ATTRIBUTE_AGREEMENT, _ATTRIBUTE_CONFLICT,
) = range(len(COLUMNS))
# fmt: on
_WIDTH = len(COLUMNS)


@_compiled()
def _holds(sorted_values: NDArray[np.int32], begin: int, end: int, value: np.int32) -> bool:
    """Whether a sorted stretch holds a value."""
    while begin < end:
        middle = (begin + end) // 2
        if sorted_values[middle] < value:
            begin = middle + 1
        else:
            end = middle
    return begin < len(sorted_values) and sorted_values[begin] == value


@_compiled(error_model="numpy")
def _score(
    rows: NDArray[np.int64],
    offsets: NDArray[np.int64],
    tokens: NDArray[np.int32],
    gram_offsets: NDArray[np.int64],
    grams: NDArray[np.int32],
    kinds: NDArray[np.uint8],
    ids: NDArray[np.int32],
    own: int,
    order: NDArray[np.int32],
    idf: NDArray[np.float32],
    attributeness: NDArray[np.float32],
    flags: NDArray[np.uint8],
    query_head: int,
    numbers: NDArray[np.int32],
    units: NDArray[np.int32],
    query_grams: NDArray[np.int32],
    word_grams: NDArray[np.int32],
    word_bounds: NDArray[np.int64],
) -> NDArray[np.float32]:
    """See `aisle.rank.features.score_rows`, which prepares the arguments."""
    features = np.zeros((len(rows), _WIDTH), dtype=np.float32)
    held_ids, term_at = _table(ids[:own])
    idf_sum = idf_max = 0.0
    asked_numbers = 0
    rarest = -1
    for t in range(own):
        idf_sum += idf[t]
        asked_numbers += 1 if flags[t] & NUMERIC else 0
        if idf[t] > idf_max:
            idf_max = idf[t]
            rarest = t
    idf_sum = max(idf_sum, 1e-9)
    words = len(order)
    found = np.empty(_LONGEST, dtype=np.int64)  # own term at each place of the title, or -1
    in_title = np.zeros(max(own, 1), dtype=np.bool_)
    in_head = np.zeros(max(own, 1), dtype=np.bool_)
    in_start = np.zeros(max(own, 1), dtype=np.bool_)
    in_attributes = np.zeros(max(own, 1), dtype=np.bool_)
    in_description = np.zeros(max(own, 1), dtype=np.bool_)
    above = np.zeros(words + 1, dtype=np.int64)
    below = np.zeros(words + 1, dtype=np.int64)
    runs = np.zeros(words + 1, dtype=np.int64)
    for i in range(len(rows)):
        row, out = rows[i], features[i]
        in_title[:] = False
        in_head[:] = False
        in_start[:] = False
        in_attributes[:] = False
        in_description[:] = False
        begin, end = offsets[row * _FIELDS + _TITLE], offsets[row * _FIELDS + _TITLE + 1]
        length = min(end - begin, _LONGEST)
        head_end = length
        title_numbers = 0
        first, last = -1, -1
        for j in range(length):
            token = tokens[begin + j]
            t = term_at[_find(held_ids, token)]
            found[j] = t
            kind = kinds[token]
            after_number = j > 0 and (kinds[tokens[begin + j - 1]] & NUMERIC) != 0
            title_numbers += 1 if kind & NUMERIC else 0
            is_unit = kind & UNIT and after_number
            if kind & CONNECTOR and j > 0 and head_end == length and not is_unit:
                head_end = j
            if t >= 0:
                in_title[t] = True
                if j < head_end:
                    in_head[t] = True
                if j < _START:
                    in_start[t] = True
                if first < 0:
                    first = j
                last = j
        for j in range(
            offsets[row * _FIELDS + _ATTRIBUTES], offsets[row * _FIELDS + _ATTRIBUTES + 1]
        ):
            t = term_at[_find(held_ids, tokens[j])]
            if t >= 0:
                in_attributes[t] = True
        for j in range(
            offsets[row * _FIELDS + _DESCRIPTION], offsets[row * _FIELDS + _DESCRIPTION + 1]
        ):
            t = term_at[_find(held_ids, tokens[j])]
            if t >= 0:
                in_description[t] = True

        # Longest common subsequence and substring of query and title, over the words that they share.
        above[:] = 0
        runs[:] = 0
        longest = 0
        for j in range(length):
            if found[j] < 0:
                runs[:] = 0
                continue
            below[0] = 0
            for w in range(words, 0, -1):
                runs[w] = runs[w - 1] + 1 if order[w - 1] == found[j] else 0
                longest = max(longest, runs[w])
            runs[0] = 0
            for w in range(1, words + 1):
                if order[w - 1] == found[j]:
                    below[w] = above[w - 1] + 1
                else:
                    below[w] = max(above[w], below[w - 1])
            above[:] = below

        head = start = attributes = description = fuzzy = 0.0
        missing_max = agreement = conflict = 0.0
        distinct = near = shown_numbers = 0
        has_attributes = (
            offsets[row * _FIELDS + _ATTRIBUTES + 1] > offsets[row * _FIELDS + _ATTRIBUTES]
        )
        for t in range(own):
            head += idf[t] if in_head[t] else 0.0
            start += idf[t] if in_start[t] else 0.0
            attributes += idf[t] if in_attributes[t] else 0.0
            description += idf[t] if in_description[t] else 0.0
            if in_attributes[t]:
                agreement += attributeness[t] * idf[t]
            elif has_attributes and not in_title[t]:
                conflict += attributeness[t] * idf[t]
            if in_title[t]:
                distinct += 1
                fuzzy += idf[t]
                shown_numbers += 1 if flags[t] & NUMERIC else 0
                continue
            missing_max = max(missing_max, idf[t])
            size = word_bounds[t + 1] - word_bounds[t]
            if size > 0:
                shared = 0
                for g in range(word_bounds[t], word_bounds[t + 1]):
                    shared += _holds(grams, gram_offsets[row], gram_offsets[row + 1], word_grams[g])
                share = shared / size
                fuzzy += idf[t] * share * share
                near += 1 if share >= _NEAR else 0
        shared_grams = 0
        for g in range(len(query_grams)):
            shared_grams += _holds(grams, gram_offsets[row], gram_offsets[row + 1], query_grams[g])
        all_grams = len(query_grams) + gram_offsets[row + 1] - gram_offsets[row] - shared_grams

        agreed = conflicting = 0
        for n in range(len(numbers)):
            fits = other = False
            for j in range(length - 1):
                if found[j + 1] == units[n] and kinds[tokens[begin + j]] & NUMERIC:
                    if found[j] == numbers[n]:
                        fits = True
                    else:
                        other = True
            agreed += fits
            conflicting += other and not fits

        head_word = found[head_end - 1] if head_end > 0 else -1
        out[_FIRST_MATCH] = first / length if first >= 0 else 1.0
        out[_HEAD_MATCHED] = 1.0 if head_word >= 0 else 0.0
        out[_HEAD_IS_QUERY_HEAD] = 1.0 if query_head >= 0 and head_word == query_head else 0.0
        if query_head >= 0:
            out[_QUERY_HEAD_IN_TITLE] = 1.0 if in_title[query_head] else 0.0
            out[_QUERY_HEAD_BEFORE_CONNECTOR] = 1.0 if in_head[query_head] else 0.0
        out[_COVERAGE_HEAD] = head / idf_sum
        out[_COVERAGE_START] = start / idf_sum
        out[_COVERAGE_ATTRIBUTES] = attributes / idf_sum
        out[_COVERAGE_DESCRIPTION] = description / idf_sum
        out[_LONGEST_RUN] = longest / max(words, 1)
        out[_ORDERED_SHARE] = above[words] / max(words, 1)
        out[_MATCH_DENSITY] = distinct / (last - first + 1) if first >= 0 else 0.0
        out[_NUMBERS_IN_TITLE] = shown_numbers / asked_numbers if asked_numbers else -1.0
        out[_UNIT_AGREEMENT] = agreed / len(numbers) if len(numbers) else -1.0
        out[_UNIT_CONFLICT] = conflicting / len(numbers) if len(numbers) else -1.0
        out[_TITLE_NUMBERS] = title_numbers
        out[_MISSING_IDF_MAX] = missing_max / idf_max if idf_max > 0 else 0.0
        out[_RAREST_IN_TITLE] = 1.0 if rarest >= 0 and in_title[rarest] else 0.0
        out[_FUZZY_COVERAGE] = fuzzy / idf_sum
        out[_NEAR_TERMS] = near
        out[_TRIGRAM_JACCARD] = shared_grams / max(all_grams, 1)
        out[_ATTRIBUTE_AGREEMENT] = agreement
        out[_ATTRIBUTE_CONFLICT] = conflict
    return features


_INTS, _LONGS, _FLOATS = _array(numba.int32), _array(numba.int64), _array(numba.float32)
_SIGNATURE = (
    *(_LONGS, _LONGS, _INTS, _LONGS, _INTS, _array(numba.uint8)),  # rows, forward index, kinds
    *(_INTS, numba.int64, _INTS, _FLOATS, _FLOATS, _array(numba.uint8)),  # ids to flags
    *(numba.int64, _INTS, _INTS, _INTS, _INTS, _LONGS),  # query_head to word_bounds
)


@functools.cache
def warm_up() -> None:
    """Compiles the kernel, or reads it from numba's cache; see `aisle.index.kernel_basic.warm_up`."""
    kernel: Any = _score  # to a type checker a compiled function is the function
    kernel.compile(_SIGNATURE)
    kernel.disable_compile()


def score(*arguments: Any) -> NDArray[np.float32]:
    """Columns of some rows for one query: float32 (n, len(COLUMNS))."""
    warm_up()
    features: NDArray[np.float32] = _score(*arguments)
    return features
