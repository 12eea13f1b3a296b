"""The pyramid: what a multi-resolution data set is, how it is read and how it is written.

Depends on numpy, h5py, xxhash and Pillow, never on torch, so that the data tools start in a blink. Nothing in here
imports ``toolkit``, ``metrics`` or ``training``.
"""
