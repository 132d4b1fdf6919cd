"""Results in the forms that leave the program: limited in size, for models and for programs.

`results` has what programs read, `compact` what models read, with the short ids of `ids`; `fitting`
keeps both within a number of characters. The MCP server and the framework adapters use the same
forms. Nothing here searches, and nothing knows a protocol.
"""
