"""An array in, a larger one out: tiles, the loop over them, the self-ensemble."""
