"""Purging documents: nothing of them is left in the files of an index, and a report proves it."""
