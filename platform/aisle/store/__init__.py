from aisle.store.failures import Retry
from aisle.store.files import sha256_of
from aisle.store.pointer import Pointer
from aisle.store.store import Store, StoredFile
from aisle.store.version import ABSENT, Version, Versioned

__all__ = [
    "ABSENT",
    "Pointer",
    "Retry",
    "Store",
    "StoredFile",
    "Version",
    "Versioned",
    "sha256_of",
]
