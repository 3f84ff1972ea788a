package rules

func (d *device) servicedAt(string) int64 { return never }
