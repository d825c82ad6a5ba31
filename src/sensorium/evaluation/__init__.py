"""Before against after, with intervals, beside what simpler methods reach, as a table and a page."""
