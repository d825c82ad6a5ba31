"""Numbers from answers, nothing else: each metric as sums over rows, so that a bootstrap is a weighted sum."""
