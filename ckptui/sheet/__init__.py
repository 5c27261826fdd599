"""The filters of a save as one image: `planning` decides what goes where, `drawing` draws, `writing` reads and writes.

The same pictures, scales, colours and flags as the gallery on the screen: all of them come from `core`.
"""
