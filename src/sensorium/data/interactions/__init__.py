"""Who did what when: read, checked, parted."""
