"""Synthetic structures and flights over them, with the truth to the pixel."""
