"""One file per engine: how it builds an index of saved embeddings and searches it.

The modules are imported by ``run.py``, where the engine's package is missing, for their constants,
and by ``drive.py`` in the engine's own environment for the rest; so packages are imported inside
functions. A module has

``ENVIRONMENT``
    Folder of ``setup.sh`` whose Python runs it; None: the one that runs ``run.py``.
``INDEXES``
    Name → `Index`.
``SMALL``
    Whether it is measured on the small corpus alone.
``build(passages, folder, **settings)``
    Write an index; passages are numbered from 0.
``open_index(folder, threads)``
    Return a searcher. Its ``search(query, k, **settings)`` returns the `k` best passages, best
    first. It may have ``search_all(queries, k, **settings)``, the way to answer many queries with
    all threads. Threads are bounded from outside as well: by affinity.
``index_bytes(folder)``
    Optional: bytes of the index; default: of all files.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Index(NamedTuple):
    """An index that is measured.

    Attributes
    ----------
    build
        Keyword arguments of the engine's ``build``.
    searches
        Keyword arguments of ``search``, for each point that is measured.
    """

    build: dict[str, Any]
    searches: list[dict[str, Any]]
