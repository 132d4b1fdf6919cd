"""Keeping an index in good order: copies of it, repair, room on the disk, moving it elsewhere.

Each module is one operation on a directory, which the command line calls by the same name. Finding
damage is in `rag_tools.integrity`.
"""
