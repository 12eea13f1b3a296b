"""CelebA-HQ as released in 2017: where a face is cut, how the deltas are opened, which photograph a row comes from."""
