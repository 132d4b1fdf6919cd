"""Measuring retrieval and citations: data sets, runs, and the field's measures."""
