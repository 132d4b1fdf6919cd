"""From files to documents and from documents to passages.

One loader per format, finding files, decoding, chunking. What is already indexed is not known here.
"""
