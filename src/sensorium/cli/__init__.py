"""The command line: flags in, a job called, a table or a line out. One file per group of verbs."""
