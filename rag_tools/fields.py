"""The fields of the metadata of documents: which there are, their types, and their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag_tools.audit.entry import recorded
from rag_tools.catalog.filters import DECLARED, check_declared, parse_filter
from rag_tools.indexer import Indexer
from rag_tools.opened import OpenIndex
from rag_tools.types import Facet, FieldEntry, FieldType, Filter


class Fields:
    """The fields that filters can name; available as `Engine.fields`.

    With a principal, all of it is about the documents that the caller may read.
    """

    def __init__(self, opened: OpenIndex, indexer: Indexer) -> None:
        self._opened = opened
        self._indexer = indexer

    def list(self, *, filter: Filter | None = None) -> tuple[FieldEntry, ...]:
        """Return the fields that documents have, and those that are declared, in order of name.

        Parameters
        ----------
        filter
            Restriction on documents, see `Filter`.

        Raises
        ------
        InvalidQueryError
            If the filter can't be used.
        """
        condition = parse_filter(filter or {})
        with recorded(self._opened.audit, "list"), self._opened.reader.view() as view:
            return view.selecting.fields(view.selecting.documents(condition))

    def facets(self, names: Sequence[str], *, filter: Filter | None = None) -> tuple[Facet, ...]:
        """Return how many documents have each value of some fields.

        Parameters
        ----------
        names
            Of the fields, 20 at most.
        filter
            Restriction on documents, see `Filter`.

        Raises
        ------
        InvalidQueryError
            If the filter can't be used, or no document has such a field.
        """
        condition = parse_filter(filter or {})
        with recorded(self._opened.audit, "list"), self._opened.reader.view() as view:
            return view.selecting.facets(names, view.selecting.documents(condition))

    def declare(self, types: Mapping[str, FieldType | None]) -> None:
        """Declare the types of fields, by which filters compare their values.

        The types of other fields are inferred from what documents state. Declarations are kept in
        the index, and every caller is told of them, whatever they may read.

        Parameters
        ----------
        types
            Field → type; None takes a declaration back.

        Raises
        ------
        InvalidQueryError
            If a name or a type isn't one, or the field is one of every document.
        AccessError
            If this is the view of a principal.
        IndexLockedError, IndexAccessError
            If the index can't be written.
        """
        checked = check_declared(types)
        with self._indexer.session(None) as writer:
            known = {**writer.catalog.setting(DECLARED, {}), **checked}
            writer.set_setting(DECLARED, {name: type for name, type in known.items() if type})
