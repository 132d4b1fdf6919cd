"""From files to documents and from documents to passages.

This package finds files, decodes them, has a loader for each format, and cuts documents into
passages. It doesn't know what is already indexed.
"""
