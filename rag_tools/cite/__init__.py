"""From the alignment of a hit to citations, where they stand, and what became of them."""
