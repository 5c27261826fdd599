"""The prediction worker: run by path under any Python from 3.7 on; the only importer of tensorflow.

It needs nothing but the standard library, numpy and tensorflow, and never imports ckptui.
"""
