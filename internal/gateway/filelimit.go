package gateway

// otherFiles is how many open files are left to the rest of the process: journal, databases, web.
const otherFiles = 1000

// warnOfFileLimit says when the system allows fewer open files than gateway.max_clients promises: then accept fails before that
// limit is reached, and not only here.
func (g *Gateway) warnOfFileLimit() {
	if may := fileLimit(); tooFewFiles(may, g.cfg.MaxClients) {
		g.log.Warn("the system allows fewer open files than gateway.max_clients and the rest of the server need: raise the limit "+
			"(ulimit -n, LimitNOFILE) or lower gateway.max_clients", "open_files", may, "max_clients", g.cfg.MaxClients, "others", otherFiles)
	}
}

func tooFewFiles(may uint64, clients int) bool { return may != 0 && may < uint64(clients)+otherFiles }
