"""Samples: single frames with one object each, and predictions with any number of scored masks, as COCO json."""
