"""Measuring retrieval: data sets in BEIR and SQuAD layout, runs, and the field's measures."""
