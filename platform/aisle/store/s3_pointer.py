"""Compare-and-swap on S3: a put that the server refuses unless the object still has the entity tag that was read.

If-Match and If-None-Match on PutObject came to S3 in 2024; a compatible server must know them too, and one that ignores
them would let the last writer win, so the first refusal is worth testing on a server that is not Amazon's.

The nonce of a swap travels as object metadata, so that the body stays the bare value that people can read. An entity
tag follows the content: a value that left and came back byte for byte between read and swap counts as unmoved. That is
harmless for CURRENT, which is judged by what it names, and cannot happen to a lease, whose fencing token never
repeats.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from fsspec.asyn import sync

from aisle.store.failures import failures, store_error
from aisle.store.store import Store
from aisle.store.version import ABSENT, Version, Versioned, moved

NONCE = "aisle-writer"

_REFUSED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_GONE = {"NoSuchKey", "404"}


@dataclass(frozen=True)
class S3Pointer:
    """Pointers below a bucket or a prefix."""

    store: Store

    def read(self, name: str) -> Versioned:
        """Gives value and entity tag of one and the same answer."""
        try:
            return self.store.retry.call(lambda: self._get(name)[0])
        except failures() as error:
            raise store_error(error, "read", self._url(name)) from error

    def swap(self, name: str, expected: Version, new: bytes) -> Version:
        """Puts on condition. A refusal is checked against our own nonce: an earlier attempt's answer may be lost."""
        nonce = uuid.uuid4().hex
        try:
            return self.store.retry.call(lambda: self._put(name, expected, new, nonce))
        except failures() as error:
            raise store_error(
                error, "swap (it may have happened: read again)", self._url(name)
            ) from error

    def _put(self, name: str, expected: Version, new: bytes, nonce: str) -> Version:
        fs, path = self.store.locate(name)
        bucket, key, _ = fs.split_path(path)
        condition = {"IfNoneMatch": "*"} if expected == ABSENT else {"IfMatch": expected}
        try:
            answer = fs.call_s3(
                "put_object", Bucket=bucket, Key=key, Body=new, Metadata={NONCE: nonce}, **condition
            )
            return str(answer["ETag"])
        except failures() as error:
            code = _code(error)
            if code not in _REFUSED | _GONE:
                raise
            found, writer = self._get(name)
            if writer == nonce:
                return found.version
            if found.version != expected or code not in _REFUSED:
                raise moved(self._url(name), expected, found) from error
            # Refused, and yet unmoved: a rival's put is in flight (409), or came and went. Try again.
            raise TimeoutError(f"S3 answered {code}, but the object has not changed") from error

    def _get(self, name: str) -> tuple[Versioned, str | None]:
        fs, path = self.store.locate(name)
        bucket, key, _ = fs.split_path(path)
        try:
            value, tag, metadata = sync(fs.loop, _get_object, fs, bucket, key)
        except FileNotFoundError as error:
            if _code(error) not in _GONE:
                raise  # the bucket is missing
            return Versioned(None, ABSENT), None
        return Versioned(value, tag), metadata.get(NONCE)

    def _url(self, name: str) -> str:
        return f"{self.store.url}/{name}"


async def _get_object(fs: Any, bucket: str, key: str) -> tuple[bytes, str, dict[str, str]]:
    answer = await fs._call_s3("get_object", Bucket=bucket, Key=key)
    async with answer["Body"] as body:
        return await body.read(), str(answer["ETag"]), answer.get("Metadata", {})


def _code(error: BaseException) -> str:
    """S3's own error code; s3fs keeps the original error as the cause of the one it raises."""
    for candidate in (error, error.__cause__):
        response = getattr(candidate, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return ""
