"""The MCP server: an agent's way to a rag-tools index.

`server` holds the tools and runs them over standard input and output, `opening` loads the index
behind the protocol's back, `pages` bounds what a tool returns, `hosts` knows the configuration
of the programs that start the server. No retrieval logic lives here.
"""
