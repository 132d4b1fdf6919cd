"""The log of commits stays short, even if there is always somebody who reads."""

from __future__ import annotations

import random
import threading
import time

from rag_tools import Document, Engine
from rag_tools.catalog import writing

PAGES = 60
PAGE = 4096 + 24  # with its header in the log


def test_readers_that_follow_each_other_without_a_gap_do_not_keep_it_growing(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_LOG_PAGES", PAGES)
    monkeypatch.setattr(writing, "_READERS_MILLISECONDS", 20_000)  # however slow the machine is
    stop, sizes = threading.Event(), []
    with Engine.open(tmp_path / "i", create=True) as engine:
        engine.add([Document(uri="test:a", text="A river.")])

        def read():
            while not stop.is_set():
                with engine._opened.reader.view():
                    time.sleep(0.02)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        try:
            for n in range(12):
                noise = {"noise": random.Random(n).randbytes(40_000).hex()}  # 20 pages
                engine.add([Document(uri="test:b", text=f"Lake {n}.", metadata=noise)])
                log = tmp_path / "i" / "catalog.sqlite-wal"
                sizes.append(log.stat().st_size if log.exists() else 0)
        finally:
            stop.set()
            for reader in readers:
                reader.join()
    assert max(sizes) <= (PAGES + 1) * PAGE, sizes
