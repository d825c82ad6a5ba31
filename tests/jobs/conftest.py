"""The tiny parts, tables and cache of the end-to-end tests."""

from tests.end_to_end.conftest import _own_cache, _quick_collections, cache, mixed, parts, questions, real_cache

__all__ = ["_own_cache", "_quick_collections", "cache", "mixed", "parts", "questions", "real_cache"]
