"""Two ways to run one network, compared: parity, layer by layer, in an engine's sidecar, in speed."""
