"""Rules, data, metrics, networks and samplers of GenRAVEN: everything that needs no Lightning."""
