"""Training the evidence model: examples, the model, the run, its export."""
