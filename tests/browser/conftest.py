"""A browser for the tests of the pages, or a skip that names what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One chromium for a module's tests."""
    pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
    from tests.browser import chromium  # noqa: PLC0415

    if chromium.path() is None:
        pytest.skip("needs chromium: sudo apt-get install chromium")
    with chromium.open_browser() as chromium_browser:
        yield chromium_browser
