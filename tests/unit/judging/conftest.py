"""The tiny random models of the encoder's tests."""

from tests.unit.embed.conftest import make_model

__all__ = ["make_model"]
