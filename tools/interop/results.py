"""What a suite found, and how it is told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field


class Disagreement(Exception):
    """Two runtimes, or a file and a rule, do not agree."""


@dataclass
class Suite:
    """Counts the checks of one suite and keeps the text of those that failed."""

    name: str
    verbose: bool = False
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: str | None = None

    @contextlib.contextmanager
    def check(self, name: str) -> Iterator[None]:
        """One check: passes unless its body raises. Any error is this check's, and the suite goes on."""
        try:
            yield
        except Exception as error:  # a crash in a runtime must not hide the other checks
            self.failures.append(f"{self.name}: {name}: {summary(error)}")
            print(f"  FAILED {self.failures[-1]}", flush=True)
        else:
            self.passed += 1
            if self.verbose:
                print(f"  ok {self.name}: {name}", flush=True)

    def note(self, text: str) -> None:
        """A measured figure, for people."""
        print(f"  {self.name}: {text}", flush=True)

    def skip(self, reason: str) -> None:
        """Leaves the suite out; in CI that is a failure, so that nothing is left out unseen."""
        self.skipped = reason
        if os.environ.get("CI"):
            self.failures.append(f"{self.name}: skipped, which CI does not allow: {reason}")

    def line(self, seconds: float) -> str:
        """The suite in one line."""
        if self.skipped:
            return f"{self.name}: skipped: {self.skipped}"
        return f"{self.name}: {self.passed} passed, {len(self.failures)} failed ({seconds:.0f} s)"


def require(condition: bool, text: str) -> None:
    """Raises [`Disagreement`] unless the condition holds."""
    if not condition:
        raise Disagreement(text)


def summary(error: Exception) -> str:
    """An error on one line of bearable length."""
    text = " ".join(str(error).split())
    kind = "" if isinstance(error, Disagreement) else f"{type(error).__name__}: "
    return kind + (text if len(text) <= 600 else f"{text[:600]} […]")
