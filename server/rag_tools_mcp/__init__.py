"""The MCP server: an agent's way to a rag-tools index.

`server` puts together what `tools`, `resources`, `prompts` and `viewer` offer. `collections` opens
the indexes behind the protocol's back, `pages` bounds what a tool returns. `running` serves on
standard input and output or, with `http` and what it needs, over HTTP, as `settings` say. `hosts`
knows the configuration of the programs that start the server, `changes` with `jsonc` and `toml`
changes it. No retrieval logic lives here.
"""
