"""ONNX and profile -> engine: build, proof and sidecar in one go."""
