"""One film in, one out, frame by frame."""
