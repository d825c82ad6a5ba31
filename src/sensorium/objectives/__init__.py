"""Losses, one a file: sums over what is supervised, so that any number of processes can divide by the right total."""
