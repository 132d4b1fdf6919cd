"""Text to token embeddings: checkpoints, the ONNX Runtime encoder, export to ONNX."""

import os

# From 1.32 on ONNX Runtime reports to its makers that it runs, and leaves a device id in the home
# directory, unless this is set before it is loaded. What runs here is nobody else's business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
