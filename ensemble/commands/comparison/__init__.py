"""Finished runs compared: what they have in common, gains with intervals, pictures, and one page."""
