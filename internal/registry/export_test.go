package registry

// NewClaimCode makes a code as ClaimCodes does, without the hyphen.
var NewClaimCode = newClaimCode

// EndRotations is what Run does once a minute.
var EndRotations = (*Registry).endRotations
