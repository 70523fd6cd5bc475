"""Studies: what trains, renders and sweeps to make or to judge something; nothing imports them."""
