"""The MCP server, through which agents use an index.

`server` assembles `tools`, `resources`, `prompts` and `viewer`. `collections` opens the indexes in
the background, and `pages` limits the size of results. `running` serves on standard input and
output or, with `http`, over HTTP, as `settings` say. `install` changes the configuration of the
programs that start the server. There is no retrieval logic here.
"""
