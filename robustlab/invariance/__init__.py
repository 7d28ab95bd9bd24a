"""What a network does not care about: shifts and other changes of its images, layer by layer."""
