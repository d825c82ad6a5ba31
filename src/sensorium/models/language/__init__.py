"""Language models made from nothing, and what they are pretrained by."""
