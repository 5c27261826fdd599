"""ckptui: forensics on TensorFlow saves, from the keyboard, without loading TensorFlow."""

__version__ = "0.1.0"
