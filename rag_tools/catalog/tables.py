"""The tables of a catalog, in the current format."""

from __future__ import annotations

# What is large stands last: SQLite reads a row's columns in order, from one page to the next.
DOCUMENT = """
CREATE TABLE {name} (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    uri TEXT NOT NULL,
    title TEXT NOT NULL,
    media_type TEXT NOT NULL,
    sha256 TEXT NOT NULL,            -- of the canonical text as UTF-8
    characters INTEGER NOT NULL,     -- code points of the canonical text
    source_path TEXT,                -- of a synced file
    source_size INTEGER,
    source_mtime_ns INTEGER,         -- 0: too fresh when read to be trusted
    source_sha256 TEXT,              -- of the file's bytes
    source_terms TEXT,               -- JSON: what rules, sidecar and permissions say of the file
    labels INTEGER NOT NULL DEFAULT 0 REFERENCES labels (key),
    expires INTEGER,                 -- Unix time in seconds, NULL if never
    hold INTEGER NOT NULL DEFAULT 0, -- 1: kept, whatever `expires` says
    metadata TEXT NOT NULL,          -- JSON
    text BLOB NOT NULL,              -- zlib of the canonical text as UTF-8
    structure BLOB NOT NULL          -- zlib of JSON: blocks, source map
);
"""

DOCUMENT_INDEXES = """
CREATE INDEX document_source ON document (source_path) WHERE source_path IS NOT NULL;
CREATE INDEX document_sha256 ON document (sha256);
CREATE INDEX document_labels ON document (labels) WHERE labels <> 0;
CREATE INDEX document_expires ON document (expires) WHERE expires IS NOT NULL;
"""

SEGMENT = """
CREATE TABLE {name} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    file TEXT NOT NULL UNIQUE,       -- token embeddings
    lexical TEXT NOT NULL UNIQUE,    -- file of the lexical postings
    passages INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0 -- grows when its passages come to belong to a document
);
"""

# Documents have few different sets of labels, so a set is stored once.
LABELS = """
CREATE TABLE labels (
    key INTEGER PRIMARY KEY,         -- 0: no labels
    labels TEXT NOT NULL UNIQUE      -- JSON: labels in ascending order
);
INSERT INTO labels VALUES (0, '[]');
"""

# Whether a passage was encoded before is one look-up in each.
ENCODED_INDEXES = """
CREATE INDEX passage_encoded ON passage (encoded);
CREATE INDEX tombstone_encoded ON tombstone (encoded);
"""

TABLES = f"""
CREATE TABLE setting (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL              -- JSON
) WITHOUT ROWID;

CREATE TABLE root (
    path TEXT PRIMARY KEY,           -- folder or file that was synced
    options TEXT NOT NULL            -- JSON: include, exclude, hidden, gitignore
) WITHOUT ROWID;

{LABELS}
{DOCUMENT.format(name="document")}
{DOCUMENT_INDEXES}
CREATE TABLE codebook (
    part INTEGER PRIMARY KEY,        -- 0 was trained, the others extend it
    file TEXT NOT NULL
);

{SEGMENT.format(name="segment")}
CREATE TABLE passage (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES document (key),
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    path TEXT NOT NULL,              -- JSON: heading or symbol path
    segment INTEGER NOT NULL REFERENCES segment (id),
    position INTEGER NOT NULL,       -- in the segment
    encoded BLOB,                    -- key of what the encoder saw of it
    UNIQUE (segment, position)
);
CREATE INDEX passage_document ON passage (document, start);

CREATE TABLE tombstone (
    segment INTEGER NOT NULL REFERENCES segment (id),
    position INTEGER NOT NULL,
    encoded BLOB,                    -- as in passage; NULL: deleted before format 4
    PRIMARY KEY (segment, position)
) WITHOUT ROWID;
{ENCODED_INDEXES}
"""
