"""The catalog: what an index holds, in SQLite.

Documents and their text, passages, the lexical index, which segments are live and which of
their passages are dead. A commit of the catalog is the commit of the whole index.
"""
