"""The shipped configs (YAML), and what a config may name and means: plugins, classes, old names, identity."""
