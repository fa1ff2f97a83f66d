"""The one module of the neighbour that it imports itself."""
