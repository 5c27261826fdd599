"""Every kind of damage, made by the test itself, and what must be said about it."""
