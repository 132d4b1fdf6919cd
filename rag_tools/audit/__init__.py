"""The audit log: who searched, read and changed what, and what was refused, as evidence.

Records are appended to a file of JSON lines. Each contains a hash of the one before, so that a
record that is changed, dropped or moved later is noticed.
"""
