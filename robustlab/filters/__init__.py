"""What a network looks at: filters, feature maps, deconvnet projections, attribution."""
