"""What makes a model unusable, in plain words: the gate that all pass, and one file per kind."""
