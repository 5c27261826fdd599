"""What survives of a damaged save, planned, and written as a complete one."""
