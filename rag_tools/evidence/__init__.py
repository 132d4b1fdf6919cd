"""The evidence model: reads a question or a claim together with a passage."""
