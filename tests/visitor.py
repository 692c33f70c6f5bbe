"""Somebody at the page of `genir serve`, in a browser."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page


class Visitor:
    """Somebody at the page: what they do, and what they see. Faults of the page's own scripts are collected in `faults`."""

    def __init__(self, page: "Page", url: str) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        page.set_default_timeout(15_000)
        page.goto(url)
        self.text("question").wait_for()

    def text(self, name: str) -> Any:
        """The text field of a component."""
        return self.page.locator(f"#{name} textarea, #{name} input[type=text]").first

    def piece(self, name: str) -> Any:
        """A part of the report."""
        return self.page.locator(f"#{name}")

    def choose(self, switch: str, option: str) -> None:
        """Another retriever or generator."""
        self.page.locator(f"#{switch} input").first.click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def ask(self, question: str) -> None:
        """Type a question and press the button."""
        self.text("question").fill(question)
        self.page.locator("#ask").click()

    def wait(self, piece: str, selector: str) -> Any:
        """What is drawn in a part of the report, once it is."""
        found = self.piece(piece).locator(selector).first
        found.wait_for()
        return found

    def finished(self) -> None:
        """Wait for what is said with the last state alone."""
        self.piece("conversation").get_by_text("goes on with this conversation").wait_for()
