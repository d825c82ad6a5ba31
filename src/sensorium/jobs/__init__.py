"""Jobs: one verb a file. They read the recipe, build the parts, and run them; the command line and Python call them."""
