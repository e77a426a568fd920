"""The description of a network: layers, synapses, state."""
