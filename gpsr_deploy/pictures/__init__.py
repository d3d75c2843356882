"""One picture file in, one out; which picture goes where, and what of a run is finished."""
