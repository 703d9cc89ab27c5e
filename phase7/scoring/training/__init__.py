"""How the weights of the embedded scorer are made and measured."""
