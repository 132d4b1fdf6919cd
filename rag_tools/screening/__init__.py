"""Flags for passages that aren't what they seem to a reader: hidden text, instructions to models.

Nothing is removed or hidden because of a flag: the text of a document stays as it is.
"""
