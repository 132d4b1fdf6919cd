"""Adding the server to the configuration of the programs that start it, its hosts.

`hosts` has the programs and the places of their configuration, and `program` the command that
starts this installation. `jsonc` and `toml` edit a text and keep its comments and layout; `values`
has what both need. `changes` shows an edit and writes it. The server itself needs none of these.
"""
