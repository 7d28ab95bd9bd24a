"""What a network is: output sizes, receptive fields, parameters, multiply-adds, layer by layer."""
