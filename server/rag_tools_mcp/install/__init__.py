"""Adding the server to the programs that host it: their files, and changing them with care.

`hosts` knows the programs and where their configuration is, `program` how this rag-tools is started
again, `jsonc` and `toml` edit a file and leave comments and layout alone, `changes` shows an edit
and makes it. The server itself needs none of it.
"""
