"""Text to token embeddings: checkpoints, the ONNX Runtime encoder, export to ONNX."""
