"""Files as they come: each reader turns one kind into chunks of rows."""
