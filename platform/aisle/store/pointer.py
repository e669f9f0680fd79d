"""Small objects that change by compare-and-swap: CURRENT, and the lease of the nightly run.

Reading gives a value with its version; swapping gives the new value and the version it replaces, and fails with
PointerMoved if another writer came first. So of any number of concurrent writers that read one version exactly one
wins. Only stores that can promise this are accepted: local files and S3.

A swap may be done although its answer was lost. Each attempt therefore carries a nonce of its own, and a refused swap
looks whether the value in place is its own before it says that someone else moved the pointer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from aisle.errors import StoreReadOnly
from aisle.store.local_pointer import LocalPointer
from aisle.store.s3_pointer import S3Pointer
from aisle.store.store import S3, Store
from aisle.store.version import Version, Versioned


class _Backend(Protocol):
    def read(self, name: str) -> Versioned: ...

    def swap(self, name: str, expected: Version, new: bytes) -> Version: ...


@dataclass(frozen=True)
class Pointer:
    """Compare-and-swap objects of a store. Safe to use from several threads, processes and machines."""

    store: Store

    def read(self, name: str) -> Versioned:
        """Gives a value and its version; value None and the version ABSENT where there is none.

        Any store can be read; versions of a store that cannot swap are good for nothing but comparison.
        """
        if self.store.is_local or self.store.protocol in S3:
            return self._backend().read(name)
        value = self.store.find_bytes(name)
        return Versioned.of(value)

    def swap(self, name: str, expected: Version, new: bytes) -> Version:
        """Replaces the value read as version `expected` by `new`; gives the new version. ABSENT expects no object.

        Raises:
            PointerMoved: another writer changed it since. Nothing was written.
            StoreReadOnly: the store's protocol has no compare-and-swap.
            StoreError: the store failed. Whether the swap took place is then unknown: read again.
        """
        return self._backend().swap(name, expected, new)

    def _backend(self) -> _Backend:
        if self.store.is_local:
            return LocalPointer(self.store)
        if self.store.protocol in S3:
            return S3Pointer(self.store)
        raise StoreReadOnly(
            f"{self.store.url}: a store of protocol {self.store.protocol!r} has no compare-and-swap, so it can be read "
            "and batch-searched but not published to; use a local path or s3:// as store to publish"
        )
