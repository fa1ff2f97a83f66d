raise ImportError("this is the neighbour's module, which nobody else asked for")
