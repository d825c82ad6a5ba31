"""What strangers must pass before a route is looked for, and what they bring."""
