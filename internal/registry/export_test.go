package registry

// EndRotations is what Run does once a minute.
var EndRotations = (*Registry).endRotations
