"""The trainer: progressive growing of GANs (Karras et al., ICLR 2018, arXiv 1710.10196)."""
