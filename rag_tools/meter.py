"""The progress of a sync as one number that rises to a total."""

from __future__ import annotations

from collections import deque

from rag_tools.types import Progress

_FINISHING_SHARE = 0.05  # share of the work after encoding: the codebook, writing, committing


class Meter:
    """The progress of a sync as one number, which rises to a total that is known from the start.

    Work is measured in expected characters of text. Each encoded passage of a file completes a part
    of the file's characters. The meter is the writer's `Progress`.

    Parameters
    ----------
    report
        Called with the stages ``scan`` (number of files looked at, without a total) and ``index``
        (characters).
    """

    def __init__(self, report: Progress | None) -> None:
        self._report = report
        self._work = 0
        self._total = 0
        self._done = 0  # of files that are finished
        self._shown = 0
        self._expected = 0  # passages that were announced
        self._waiting: deque[tuple[int, int, int]] = deque()  # last passage, passages, characters

    def scanned(self, files: int) -> None:
        """Report the number of files looked at."""
        if self._report:
            self._report("scan", files, 0)

    def plan(self, characters: int) -> None:
        """Set the total, which doesn't change afterwards."""
        self._work = characters
        self._total = characters + int(characters * _FINISHING_SHARE)
        self._show(0)

    def encoding(self, characters: int, passages: int) -> None:
        """Take note that a file goes to the writer."""
        if not passages:
            self.settled(characters)
            return
        self._expected += passages
        self._waiting.append((self._expected, passages, characters))

    def settled(self, characters: int) -> None:
        """Take note that a file is done without encoding."""
        self._done += characters
        self._show(0)

    def finish(self) -> None:
        """Take note that everything is committed."""
        self._done, self._shown = self._total, self._total
        self._waiting.clear()
        self._show(0)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Handle reports of the writer: ``encode`` with passages, ``cluster`` with centroids."""
        part = 0
        if stage == "encode":
            while self._waiting and self._waiting[0][0] <= done:
                self._done += self._waiting.popleft()[2]
            if self._waiting:
                last, passages, characters = self._waiting[0]
                part = characters * (passages - (last - done)) // passages
        elif self._done >= self._work and total:
            part = (self._total - self._work) * min(done, total) // (total + 1)
        self._show(part)

    def _show(self, part: int) -> None:
        self._shown = max(self._shown, min(self._done + part, self._total))
        if self._report:
            self._report("index", self._shown, self._total)
