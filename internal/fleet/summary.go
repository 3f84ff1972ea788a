package fleet

import "time"

// Summary is what the fleet as a whole looked like: made at fixed intervals from what every partition knows and put into
// every partition, so that a rule can compare a device with its peers and still read nothing but records.
type Summary struct {
	At    time.Time   `json:"at"`
	Peers []PeerTable `json:"peers,omitempty"`
	Rates []FleetRate `json:"rates,omitempty"`
}

// PeerTable is how one value is spread over the devices of a model that were heard of lately.
type PeerTable struct {
	Tenant  string    `json:"tenant"`
	Model   string    `json:"model"`
	Value   string    `json:"value"`   // the expression as a rule names it: avg(drain_s, "7d")
	Devices int       `json:"devices"` // how many have the value
	At      []float64 `json:"at"`      // the value at evenly spaced shares of them, from the smallest to the largest
}

// FleetRate is how many devices of one kind have a finding.
type FleetRate struct {
	Tenant   string `json:"tenant"`
	Model    string `json:"model"`
	Firmware string `json:"firmware"`
	Batch    string `json:"batch"`
	Rule     string `json:"rule"`     // one that some rule's fleet_rate names
	Devices  int    `json:"devices"`  // heard of lately
	Affected int    `json:"affected"` // of these, with an episode that is open or opened in the last seven days
}
