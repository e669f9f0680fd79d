"""A store: files under one URL, local or of any fsspec protocol, with whole writes, verified reads and clear errors.

It knows nothing of snapshots. Names are relative, with slashes. A Store is a URL and its options, so that every process
builds its own from the configuration; connections live in fsspec's cache of instances, which minds forks.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from aisle.errors import SnapshotError, StoreError
from aisle.store.failures import Retry, failures, store_error
from aisle.store.files import CHUNK_BYTES, is_passing_name, sha256_of, whole_file

log = logging.getLogger(__name__)

T = TypeVar("T")

LOCAL = ("file", "local")
S3 = ("s3", "s3a")
S3_CHUNK_BYTES = 16 << 20

# One attempt against S3 is kept short, because Retry repeats it: botocore and s3fs would multiply their own retries
# with ours, and a dead endpoint would hold a job for minutes.
S3_CLIENT: dict[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 30,
    "retries": {"max_attempts": 1},
}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What a manifest says of a file."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Store:
    """Files under `url`. Safe to use from several threads and processes; pickling carries URL and options only."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)
    retry: Retry = Retry()

    @classmethod
    def open(
        cls, url: str, options: Mapping[str, Any] | None = None, *, retry: Retry | None = None
    ) -> Store:
        """Names a store; touches nothing yet, but refuses a URL whose protocol or package is not there."""
        if not url.strip():
            raise StoreError(
                "cannot open the store (empty URL); use a local path, s3:// or another fsspec URL"
            )
        protocol = fsspec.utils.get_protocol(url)
        if protocol in LOCAL:
            url = os.path.abspath(url.split("://", 1)[-1] if "://" in url else url)
        store = cls(url.rstrip("/") or "/", dict(options or {}), retry or Retry())
        try:
            store.locate()
        except (ValueError, ImportError, TypeError) as error:
            raise StoreError(
                f"{url}: cannot open the store ({error}); use a local path, s3:// or another fsspec URL, install the "
                "protocol's package, and check store_options"
            ) from error
        return store

    @property
    def protocol(self) -> str:
        """The protocol by fsspec's name: `file`, `s3`, `memory`, ..."""
        return str(fsspec.utils.get_protocol(self.url))

    @property
    def is_local(self) -> bool:
        """Whether the files can be opened, mapped and locked in place."""
        return self.protocol in LOCAL

    def local_path(self, name: str) -> Path | None:
        """Where a file lies if the store is local, else None."""
        return Path(self.locate(name)[1]) if self.is_local else None

    def locate(self, name: str = "") -> tuple[Any, str]:
        """The fsspec file system and the path in it."""
        if name.startswith("/") or ".." in name.split("/"):
            raise StoreError(f"{self.url}: the name {name!r} leaves the store; names are relative")
        options = dict(self.options)
        if self.protocol in S3:
            options["config_kwargs"] = {**S3_CLIENT, **options.get("config_kwargs", {})}
        url = f"{self.url.rstrip('/')}/{name}" if name else self.url
        fs, path = fsspec.core.url_to_fs(url, **options)
        if self.protocol in S3:
            fs.retries = 1
        return fs, path

    def read_bytes(self, name: str) -> bytes:
        """Gives a file's content; StoreError where it is not there."""
        return bytes(self._do("read", name, lambda fs, path: fs.cat_file(path)))

    def find_bytes(self, name: str) -> bytes | None:
        """Gives a file's content, or None where it is not there."""

        def act(fs: Any, path: str) -> bytes | None:
            try:
                return bytes(fs.cat_file(path))
            except (FileNotFoundError, NotADirectoryError):
                return None

        return self._do("read", name, act)

    def write_bytes(self, name: str, data: bytes) -> StoredFile:
        """Writes a file whole: a reader sees the old content or the new, never a part."""

        def act(fs: Any, path: str) -> None:
            if self.is_local:
                with whole_file(path) as file:
                    file.write(data)
            else:
                fs.pipe_file(path, data)

        self._do("write", name, act)
        return StoredFile(name, len(data), sha256(data).hexdigest())

    def exists(self, name: str) -> bool:
        """Whether a file or a non-empty folder of this name is there."""

        def act(fs: Any, path: str) -> bool:
            try:
                return bool(self._info(fs, path))
            except (FileNotFoundError, NotADirectoryError):
                return False

        return self._do("look up", name, act)

    def size_bytes(self, name: str) -> int:
        """A file's size."""
        return int(self._do("look up", name, lambda fs, path: self._info(fs, path)["size"]))

    def modified_s(self, name: str) -> float:
        """When a file was last written, in seconds since 1970 by the store's clock."""

        def act(fs: Any, path: str) -> float:
            self._forget(fs, path)
            return float(fs.modified(path).timestamp())

        return self._do("look up", name, act)

    def list(self, prefix: str = "") -> tuple[str, ...]:
        """Names of all files below a folder, at any depth, sorted; empty where there is no such folder."""
        return tuple(sorted(self.sizes_bytes(prefix)))

    def sizes_bytes(self, prefix: str = "") -> dict[str, int]:
        """Sizes of all files below a folder, by name; empty where there is no such folder."""

        def act(fs: Any, path: str) -> dict[str, int]:
            self._forget(fs, path)
            root = self.locate()[1].rstrip("/") + "/"
            try:
                found = fs.find(path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}
            # find of a file gives the file itself, which is no folder's content
            sizes = {
                str(p).removeprefix(root): int(info.get("size") or 0)
                for p, info in found.items()
                if str(p) != path
            }
            return {name: size for name, size in sizes.items() if not is_passing_name(name)}

        return self._do("list", prefix, act)

    def folders(self, prefix: str = "") -> tuple[str, ...]:
        """Last names of the folders directly below a folder, sorted; empty where there is no such folder."""

        def act(fs: Any, path: str) -> tuple[str, ...]:
            self._forget(fs, path)
            try:
                entries = fs.ls(path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return ()
            found = (e["name"].rstrip("/") for e in entries if e["type"] == "directory")
            return tuple(sorted({n.rsplit("/", 1)[-1] for n in found if n != path.rstrip("/")}))

        return self._do("list", prefix, act)

    def delete(self, name: str, recursive: bool = False) -> None:
        """Removes a file, or with `recursive` a folder; what is not there already counts as removed."""
        if not name.strip("/"):
            raise StoreError(
                f"{self.url}: refusing to delete the whole store; name a file or folder in it"
            )

        def act(fs: Any, path: str) -> None:
            self._forget(fs, path)
            try:
                if self.is_local and not recursive:
                    os.unlink(path)
                elif self.is_local and os.path.isdir(path):
                    shutil.rmtree(path)
                else:
                    fs.rm(path, recursive=recursive)
            except FileNotFoundError:
                log.debug("nothing to delete", extra={"url": self.url, "file": name})

        self._do("delete", name, act)

    def put_file(self, local: str | Path, name: str) -> StoredFile:
        """Copies a local file into the store, whole; gives its size and sha256, those of the bytes that were read."""
        record = StoredFile(name, Path(local).stat().st_size, sha256_of(local))

        def act(fs: Any, path: str) -> None:
            if self.is_local:
                with Path(local).open("rb") as source, whole_file(path) as target:
                    shutil.copyfileobj(source, target, CHUNK_BYTES)
            else:
                fs.put_file(str(local), path)

        self._do("write", name, act)
        return record

    def put_tree(self, local: str | Path, prefix: str) -> tuple[StoredFile, ...]:
        """Copies every file below a local folder to below `prefix`, in sorted order; names as in the store."""
        root = Path(local)
        files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
        at = f"{prefix.rstrip('/')}/" if prefix else ""
        return tuple(self.put_file(root / f, at + f) for f in files if not is_passing_name(f))

    def fetch(self, name: str, local: str | Path, sha256_hex: str, size_bytes: int) -> Path:
        """Copies a file out of the store to `local`, verified while it streams; appears there only if it is right.

        Raises:
            SnapshotError: the file is not there, or its size or sha256 is not the stated one.
            StoreError: the store failed.
        """
        target = Path(local)

        def act(fs: Any, path: str) -> None:
            with whole_file(target) as copy:
                try:
                    got_hash, got_bytes = _stream(fs, path, copy)
                except FileNotFoundError as error:
                    raise SnapshotError(
                        f"{self.url}/{name}: the manifest names it, but it is not there; publish or roll back to a "
                        "whole snapshot"
                    ) from error
                if (got_hash, got_bytes) != (sha256_hex, size_bytes):
                    raise SnapshotError(
                        f"{self.url}/{name}: damaged: {got_bytes} bytes with sha256 {got_hash}, the manifest says "
                        f"{size_bytes} bytes with sha256 {sha256_hex}; roll back or build the snapshot again"
                    )

        self._do(f"fetch to {target}", name, act)
        return target

    def _do(self, doing: str, name: str, act: Callable[[Any, str], T]) -> T:
        """Runs an operation with retries; what still fails becomes StoreError."""
        fs, path = self.locate(name)
        try:
            return self.retry.call(lambda: act(fs, path))
        except failures() as error:
            raise store_error(error, doing, f"{self.url}/{name}" if name else self.url) from error

    def _info(self, fs: Any, path: str) -> Any:
        self._forget(fs, path)
        return fs.info(path)

    def _forget(self, fs: Any, path: str) -> None:
        """Drops fsspec's listing cache on the way to `path`: another process may have written since."""
        if not self.is_local:
            fs.invalidate_cache(path)


def _stream(fs: Any, path: str, copy: Any) -> tuple[str, int]:
    digest, size_bytes = sha256(), 0
    # s3fs would read ahead a block of 50 MB for each chunk; large chunks without a cache cost one request each.
    is_s3 = any(name in S3 for name in _names(fs.protocol))
    kwargs, chunk_bytes = ({"cache_type": "none"}, S3_CHUNK_BYTES) if is_s3 else ({}, CHUNK_BYTES)
    with fs.open(path, "rb", **kwargs) as source:
        while chunk := source.read(chunk_bytes):
            digest.update(chunk)
            size_bytes += len(chunk)
            copy.write(chunk)
    return digest.hexdigest(), size_bytes


def _names(protocol: str | tuple[str, ...]) -> tuple[str, ...]:
    return (protocol,) if isinstance(protocol, str) else protocol
