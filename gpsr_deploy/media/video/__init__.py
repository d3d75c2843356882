"""Films in and out: the only place that knows containers, codecs, colour matrices and pipes of frames."""
