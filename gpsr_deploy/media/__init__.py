"""Pictures and films as files: the only room that knows formats and codecs."""
