"""A real browser (Debian's Chromium, by playwright) and a server to visit; what a failing test saw is kept in runs/browser/."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from experiments.demo.desk import Desk
from tests.small_library import small_library
from tests.visitor import Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
KEPT = Path(__file__).resolve().parents[2] / "runs" / "browser"
OUTCOME = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Leave word of a failed test for its fixtures."""
    report = yield
    if report.when == "call":
        item.stash[OUTCOME] = report.failed
    return report  # type: ignore[return-value]


@pytest.fixture(scope="module")  # not longer: while it runs, playwright's event loop is everybody's
def browser() -> "Iterator[Browser]":
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is a development package")
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install -y --no-install-recommends chromium")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    pytest.importorskip("gradio", reason="the page needs gradio: pip install 'genir[serve]'")
    from experiments.demo.server import serving

    with serving(Desk(small_library(delay=0.03))) as base:
        yield base


@pytest.fixture
def visit(browser: "Browser", url: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Opens the page, each visitor in a profile of their own; keeps a picture of every page where the test failed."""
    visitors: list[Visitor] = []

    def arrive() -> Visitor:
        page = browser.new_context(viewport={"width": 1200, "height": 1000}, reduced_motion="reduce").new_page()
        visitors.append(Visitor(page, url))
        return visitors[-1]

    yield arrive
    for number, visitor in enumerate(visitors):
        if request.node.stash.get(OUTCOME, False):
            KEPT.mkdir(parents=True, exist_ok=True)
            visitor.page.screenshot(path=KEPT / f"{request.node.name}-{number}.png", full_page=True)
        visitor.page.context.close()
