"""The only place that relies on what other packages don't promise to keep.

Each reliance is needed because the package offers no public way to the same end. What is relied on
may change with any release, so ``pyproject.toml`` sets an upper bound for each of these packages,
and ``tests/server/test_internals.py`` says in a sentence what changed.

`sdk`: the MCP SDK.
    `mcp.server.mcpserver.utilities.func_metadata`, since the SDK ignores arguments that a tool
    doesn't know, derives schemas that some hosts refuse, and offers no option for either. And the
    session manager that `streamable_http_app` leaves behind in the server, since that application
    has no place for time limits and tokens of our own before a request reaches the protocol.
`connection`: uvicorn.
    Its HTTP/1.1 protocol class and the h11 state in it, since uvicorn has no time limit for the
    headers of a request, nor for a client that doesn't read its answer.
"""
