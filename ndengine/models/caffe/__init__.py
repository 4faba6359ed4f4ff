"""Caffe's networks: definitions as data, read from a prototxt or written in Python, and their weights."""
