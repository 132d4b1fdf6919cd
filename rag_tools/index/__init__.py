"""The index: codebook, residual codec, segments, and the stages of a search.

Arrays in, arrays out. What a passage says, which document it belongs to and whether it is
live is the catalog's business.
"""
