"""Commands: composes everything below; nothing imports it."""
