"""One decoding loop for every guidance: models, their cache, the sampler, the loop."""
